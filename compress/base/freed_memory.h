#pragma once

namespace calipress {

// Gives the pages of freed allocations back to the system. The allocator keeps them otherwise: temporaries of a forward
// and of a solve, of other sizes each, then add up to twice what is in use. Cheap beside either: a call a few times per
// block.
void ReturnFreedMemory();

}  // namespace calipress
