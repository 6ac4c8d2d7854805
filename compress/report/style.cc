#include "compress/report/sections.h"

namespace calipress::report {

// Colours by Okabe and Ito. No '<' and no '&': the page is XML too.
const char kStyle[] = R"(
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1c1e21; --soft: #5c6370; --rule: #dfe2e6;
  --faint: #f5f6f8; --mark: #0072b2; --warn: #b35900; --box: #cfe3f1; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #15171a; --ink: #e6e8eb; --soft: #9aa3ae; --rule: #30353c; --faint: #1d2024; --mark: #56b4e9;
    --warn: #e69f00; --box: #1f4460; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif;
  font-variant-numeric: tabular-nums; }
main { max-width: 60rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2.75rem 0 .75rem; padding-top: .6rem; border-top: 2px solid var(--ink); }
h3 { font-size: .95rem; margin: 1.5rem 0 .4rem; }
p { margin: .4rem 0; max-width: 44rem; }
.soft, .note { color: var(--soft); }
.note { font-size: .87rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: 1px; margin: 1.75rem 0 0;
  padding: 1px; }
.tile { padding: .7rem .9rem; box-shadow: 0 0 0 1px var(--rule); }
.tile b { display: block; font-size: 1.2rem; font-weight: 600; line-height: 1.35; }
.tile span { display: block; font-size: .82rem; color: var(--soft); overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin: .5rem 0; }
table { border-collapse: collapse; min-width: 50%; font-size: .9rem; }
th { text-align: left; font-weight: 500; font-size: .8rem; color: var(--soft); vertical-align: bottom; }
th, td { padding: .28rem 1.1rem .28rem 0; border-bottom: 1px solid var(--rule); }
td { vertical-align: top; overflow-wrap: break-word; max-width: 28rem; }
th:last-child, td:last-child { padding-right: 0; }
.n { text-align: right; white-space: nowrap; }
.path { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: .85em; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: minmax(9rem, max-content) 1fr; gap: .2rem 1.25rem; margin: .5rem 0;
  font-size: .9rem; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
ul.warnings { margin: .5rem 0; padding: .6rem 1rem .6rem 2rem; border-left: 4px solid var(--warn);
  background: var(--faint); font-size: .9rem; overflow-wrap: anywhere; }
pre { margin: .5rem 0; padding: .9rem 1rem; background: var(--faint); overflow-x: auto; font-size: .82rem;
  line-height: 1.45; }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(12.5rem, 1fr)); gap: .75rem 1rem; }
figure { margin: .5rem 0; }
figcaption { font-size: .85rem; color: var(--ink); }
svg { display: block; width: 100%; height: auto; }
svg text { font-size: 10.5px; fill: var(--soft); }
.wide svg text { font-size: 11px; }
svg .mid { text-anchor: middle; }
svg .end { text-anchor: end; }
svg .name { fill: var(--ink); }
svg .grid { stroke: var(--rule); stroke-width: 1; }
svg .path { fill: none; stroke: var(--mark); stroke-width: 1.2; }
svg .dot { fill: var(--mark); }
svg .bar { fill: var(--mark); }
svg .box { fill: var(--box); stroke: var(--mark); stroke-width: 1.2; }
svg .whisker { stroke: var(--mark); stroke-width: 1.2; }
svg .median { stroke: var(--mark); stroke-width: 2.4; }
svg .draw { fill: var(--paper); stroke: var(--ink); stroke-width: 1; }
.share { display: block; height: .5rem; margin-top: .45rem; background: var(--mark); min-width: 1px; }
footer { margin-top: 3rem; font-size: .82rem; color: var(--soft); }
@media print { main { padding: 0; max-width: none; } section { break-inside: avoid-page; } }
)";

}  // namespace calipress::report
