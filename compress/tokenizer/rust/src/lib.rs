//! A small C ABI over Hugging Face's `tokenizers`. The C side is `compress/tokenizer/tokenizers_abi.h`; keep both equal.
//!
//! Every function catches panics: none may unwind into C++. Failures come back as a code and, where `error` is given,
//! a message that the caller frees with `calipress_tokenizers_free_bytes`.

mod chat_template;

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::slice;
use std::str;

use chat_template::ChatTemplate;
use tokenizers::Tokenizer;

const OK: i32 = 0;
/// The tokenizer.json, the template, the messages or the ids are not usable.
const INVALID: i32 = 1;
/// The text is not UTF-8.
const NOT_UTF8: i32 = 2;
/// A panic: a defect of the library or of this file.
const DEFECT: i32 = 3;

/// Bytes that Rust owns. `data` is null where `size` is 0.
#[repr(C)]
pub struct Bytes {
    data: *mut u8,
    size: usize,
}

/// Ids that Rust owns. `data` is null where `size` is 0.
#[repr(C)]
pub struct Ids {
    data: *mut u32,
    size: usize,
}

fn leak<T>(values: Vec<T>) -> (*mut T, usize) {
    if values.is_empty() {
        return (std::ptr::null_mut(), 0);
    }
    let boxed = values.into_boxed_slice();
    let size = boxed.len();
    (Box::into_raw(boxed) as *mut T, size)
}

unsafe fn unleak<T>(data: *mut T, size: usize) {
    if !data.is_null() {
        drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(data, size)));
    }
}

unsafe fn view<'a, T>(data: *const T, size: usize) -> &'a [T] {
    if size == 0 {
        &[]
    } else {
        slice::from_raw_parts(data, size)
    }
}

/// Runs `body`; writes its error text, or the panic's, to `error`.
unsafe fn guarded(error: *mut Bytes, body: impl FnOnce() -> Result<(), (i32, String)>) -> i32 {
    let outcome = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()))
            .unwrap_or_else(|| "panic without a message".to_string());
        Err((DEFECT, text))
    });
    match outcome {
        Ok(()) => OK,
        Err((code, text)) => {
            if !error.is_null() {
                let (data, size) = leak(text.into_bytes());
                *error = Bytes { data, size };
            }
            code
        }
    }
}

/// Makes a tokenizer from the text of a tokenizer.json.
///
/// # Safety
/// `json` points at `json_size` bytes; `tokenizer` and `error` may be written to.
#[no_mangle]
pub unsafe extern "C" fn calipress_tokenizers_new(
    json: *const u8,
    json_size: usize,
    tokenizer: *mut *mut Tokenizer,
    error: *mut Bytes,
) -> i32 {
    guarded(error, || {
        let mut made =
            Tokenizer::from_bytes(view(json, json_size)).map_err(|e| (INVALID, e.to_string()))?;
        // A file may carry the truncation and padding of its last training run; transformers switches both off
        // for a plain call, and a calibration text must never be cut in silence.
        made.with_truncation(None).map_err(|e| (INVALID, e.to_string()))?;
        made.with_padding(None);
        *tokenizer = Box::into_raw(Box::new(made));
        Ok(())
    })
}

/// # Safety
/// `tokenizer` came from `calipress_tokenizers_new` (or is null) and is not used afterwards.
#[no_mangle]
pub unsafe extern "C" fn calipress_tokenizers_free(tokenizer: *mut Tokenizer) {
    if !tokenizer.is_null() {
        let _ = catch_unwind(AssertUnwindSafe(|| drop(Box::from_raw(tokenizer))));
    }
}

/// Ids of a text.
///
/// # Safety
/// `tokenizer` is alive, `text` points at `text_size` bytes, `ids` and `error` may be written to.
#[no_mangle]
pub unsafe extern "C" fn calipress_tokenizers_encode(
    tokenizer: *const Tokenizer,
    text: *const u8,
    text_size: usize,
    add_special_tokens: bool,
    ids: *mut Ids,
    error: *mut Bytes,
) -> i32 {
    guarded(error, || {
        let text = str::from_utf8(view(text, text_size)).map_err(|e| (NOT_UTF8, e.to_string()))?;
        // encode_fast leaves out the offsets, which nobody here reads.
        let encoding = (*tokenizer)
            .encode_fast(text, add_special_tokens)
            .map_err(|e| (INVALID, e.to_string()))?;
        let (data, size) = leak(encoding.get_ids().to_vec());
        *ids = Ids { data, size };
        Ok(())
    })
}

/// Text of ids; ids that the vocabulary lacks are left out, as the Python package does.
///
/// # Safety
/// `tokenizer` is alive, `ids` points at `id_count` values, `text` and `error` may be written to.
#[no_mangle]
pub unsafe extern "C" fn calipress_tokenizers_decode(
    tokenizer: *const Tokenizer,
    ids: *const u32,
    id_count: usize,
    skip_special_tokens: bool,
    text: *mut Bytes,
    error: *mut Bytes,
) -> i32 {
    guarded(error, || {
        let decoded = (*tokenizer)
            .decode(view(ids, id_count), skip_special_tokens)
            .map_err(|e| (INVALID, e.to_string()))?;
        let (data, size) = leak(decoded.into_bytes());
        *text = Bytes { data, size };
        Ok(())
    })
}

/// Highest id + 1, added tokens included; 0 for an empty vocabulary or after a panic.
///
/// # Safety
/// `tokenizer` is alive.
#[no_mangle]
pub unsafe extern "C" fn calipress_tokenizers_vocabulary_size(tokenizer: *const Tokenizer) -> u64 {
    catch_unwind(AssertUnwindSafe(|| {
        let vocabulary = (*tokenizer).get_vocab(true);
        vocabulary.values().max().map_or(0, |id| u64::from(*id) + 1)
    }))
    .unwrap_or(0)
}

/// Ids of all tokens but those that are marked special, sorted.
///
/// # Safety
/// `tokenizer` is alive, `ids` and `error` may be written to.
#[no_mangle]
pub unsafe extern "C" fn calipress_tokenizers_ordinary_ids(
    tokenizer: *const Tokenizer,
    ids: *mut Ids,
    error: *mut Bytes,
) -> i32 {
    guarded(error, || {
        let added = (*tokenizer).get_added_tokens_decoder();
        let special = |id: &u32| added.get(id).is_some_and(|token| token.special);
        let mut ordinary: Vec<u32> = (*tokenizer).get_vocab(true).into_values().filter(|id| !special(id)).collect();
        ordinary.sort_unstable();
        ordinary.dedup();
        let (data, size) = leak(ordinary);
        *ids = Ids { data, size };
        Ok(())
    })
}

/// Makes a chat template from its Jinja text and a JSON object of the texts it may name (bos_token ...).
///
/// # Safety
/// `source` and `variables` point at their bytes; `template` and `error` may be written to.
#[no_mangle]
pub unsafe extern "C" fn calipress_chat_template_new(
    source: *const u8,
    source_size: usize,
    variables: *const u8,
    variables_size: usize,
    template: *mut *mut ChatTemplate,
    error: *mut Bytes,
) -> i32 {
    guarded(error, || {
        let source = str::from_utf8(view(source, source_size)).map_err(|e| (NOT_UTF8, e.to_string()))?;
        let variables = str::from_utf8(view(variables, variables_size)).map_err(|e| (NOT_UTF8, e.to_string()))?;
        let made = ChatTemplate::new(source, variables).map_err(|text| (INVALID, text))?;
        *template = Box::into_raw(Box::new(made));
        Ok(())
    })
}

/// # Safety
/// `template` came from `calipress_chat_template_new` (or is null) and is not used afterwards.
#[no_mangle]
pub unsafe extern "C" fn calipress_chat_template_free(template: *mut ChatTemplate) {
    if !template.is_null() {
        let _ = catch_unwind(AssertUnwindSafe(|| drop(Box::from_raw(template))));
    }
}

/// The text of a conversation, given as a JSON list of messages.
///
/// # Safety
/// `template` is alive, `messages` points at `messages_size` bytes, `text` and `error` may be written to.
#[no_mangle]
pub unsafe extern "C" fn calipress_chat_template_render(
    template: *const ChatTemplate,
    messages: *const u8,
    messages_size: usize,
    text: *mut Bytes,
    error: *mut Bytes,
) -> i32 {
    guarded(error, || {
        let messages = str::from_utf8(view(messages, messages_size)).map_err(|e| (NOT_UTF8, e.to_string()))?;
        let rendered = (*template).render(messages).map_err(|text| (INVALID, text))?;
        let (data, size) = leak(rendered);
        *text = Bytes { data, size };
        Ok(())
    })
}

/// # Safety
/// `bytes` came from this library and is freed once.
#[no_mangle]
pub unsafe extern "C" fn calipress_tokenizers_free_bytes(bytes: Bytes) {
    unleak(bytes.data, bytes.size);
}

/// # Safety
/// `ids` came from this library and is freed once.
#[no_mangle]
pub unsafe extern "C" fn calipress_tokenizers_free_ids(ids: Ids) {
    unleak(ids.data, ids.size);
}
