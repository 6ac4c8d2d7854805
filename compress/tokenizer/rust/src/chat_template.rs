//! Chat templates as transformers' `apply_chat_template` runs them: Jinja with trim_blocks and lstrip_blocks, Python's
//! string methods, `raise_exception`, and a `tojson` that writes as `json.dumps(..., ensure_ascii=False)` does.
//!
//! `strftime_now` is left undefined: a text that holds the day of its making would differ from run to run. Templates
//! that ask for it first (Llama 3.1) take their fixed date.

use std::collections::BTreeMap;
use std::io::{self, Write};

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{context, Environment, Error, ErrorKind, Output, State};
use serde::Serialize;

const NAME: &str = "chat_template";
/// Steps of the template's program for one conversation, and bytes of its text: a template is a file of the model's.
const MOST_STEPS: u64 = 20_000_000;
const MOST_BYTES: usize = 256 << 20;
/// Spaces of a level of JSON; a width that Rust's formatting takes at any depth that JSON is read to.
const MOST_INDENT: usize = 64;

pub struct ChatTemplate {
    environment: Environment<'static>,
    variables: BTreeMap<String, String>,
}

impl ChatTemplate {
    /// `variables` is a JSON object of texts: bos_token and the like.
    pub fn new(source: &str, variables: &str) -> Result<Self, String> {
        let variables = serde_json::from_str(variables).map_err(|e| e.to_string())?;
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_fuel(Some(MOST_STEPS));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_formatter(write_value);
        environment.add_function("raise_exception", raise_exception);
        environment.add_filter("tojson", to_json);
        environment
            .add_template_owned(NAME, without_generation_tags(source))
            .map_err(describe)?;
        Ok(ChatTemplate { environment, variables })
    }

    /// `messages` is a JSON list of objects.
    pub fn render(&self, messages: &str) -> Result<Vec<u8>, String> {
        let messages: Value = serde_json::from_str(messages).map_err(|e| e.to_string())?;
        let template = self.environment.get_template(NAME).map_err(describe)?;
        let values = context! {
            messages => messages,
            tools => (),
            documents => (),
            add_generation_prompt => false,
            ..Value::from_serialize(&self.variables)
        };
        let mut text = Bounded(Vec::new());
        template.render_captured_to(values, &mut text).map_err(describe)?;
        Ok(text.0)
    }
}

struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MOST_BYTES {
            return Err(io::Error::other(format!("it writes more than {MOST_BYTES} bytes")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The message with those of its causes and the line.
fn describe(error: Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// `{% generation %} ... {% endgeneration %}` marks what the assistant says, and writes its body as it is.
fn without_generation_tags(source: &str) -> String {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(begin) = rest.find("{%") {
        let Some(end) = rest[begin + 2..].find("%}").map(|at| begin + 2 + at) else { break };
        let inside = &rest[begin + 2..end];
        let word = inside.trim_start_matches(['-', '+']).trim_end_matches(['-', '+']).trim();
        text.push_str(&rest[..begin + 2]);
        match word {
            "generation" => text.push_str(&inside.replace("generation", "if true")),
            "endgeneration" => text.push_str(&inside.replace("endgeneration", "endif")),
            _ => text.push_str(inside),
        }
        text.push_str("%}");
        rest = &rest[end + 2..];
    }
    text.push_str(rest);
    text
}

/// Python's names where the two languages differ.
fn write_value(out: &mut Output, state: &State, value: &Value) -> Result<(), Error> {
    match value.kind() {
        ValueKind::None => out.write_str("None").map_err(Error::from),
        ValueKind::Bool => out.write_str(if value.is_true() { "True" } else { "False" }).map_err(Error::from),
        _ => minijinja::escape_formatter(out, state, value),
    }
}

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

fn to_json(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    if indent.is_some_and(|indent| indent > MOST_INDENT) {
        return Err(Error::new(ErrorKind::InvalidOperation, format!("tojson: indent is above {MOST_INDENT}")));
    }
    let ascii: Option<bool> = options.get("ensure_ascii")?;
    let sort: Option<bool> = options.get("sort_keys")?;
    let separators: Option<Vec<String>> = options.get("separators")?;
    options.assert_all_used()?;
    if ascii == Some(true) {
        return Err(Error::new(ErrorKind::InvalidOperation, "tojson(ensure_ascii=true) is not supported"));
    }
    let (item, key) = match separators.as_deref() {
        Some([item, key]) => (item.clone(), key.clone()),
        Some(_) => return Err(Error::new(ErrorKind::InvalidOperation, "separators are two texts")),
        None => (if indent.is_some() { "," } else { ", " }.to_string(), ": ".to_string()),
    };
    let mut bytes = Vec::new();
    let layout = PythonLayout { item, key, indent, depth: 0, filled: false };
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, layout);
    let written = if sort == Some(true) {
        // serde_json's own maps are sorted.
        serde_json::to_value(value).and_then(|sorted| sorted.serialize(&mut serializer))
    } else {
        value.serialize(&mut serializer)
    };
    written.map_err(|e| Error::new(ErrorKind::InvalidOperation, format!("tojson: {e}")))?;
    let text = String::from_utf8(bytes).map_err(|e| Error::new(ErrorKind::InvalidOperation, e.to_string()))?;
    Ok(Value::from_safe_string(text))
}

/// Separators and line breaks of Python's json.dumps.
struct PythonLayout {
    item: String,
    key: String,
    indent: Option<usize>,
    depth: usize,
    filled: bool, // the list or object that closes has something in it
}

impl PythonLayout {
    fn open<W: ?Sized + Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.filled = false;
        writer.write_all(bracket)
    }

    fn close<W: ?Sized + Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth -= 1;
        if self.filled {
            self.new_line(writer)?;
        }
        self.filled = true;
        writer.write_all(bracket)
    }

    fn before<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if !first {
            writer.write_all(self.item.as_bytes())?;
        }
        self.new_line(writer)
    }

    fn new_line<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        match self.indent {
            Some(indent) => write!(writer, "\n{:1$}", "", indent * self.depth),
            None => Ok(()),
        }
    }
}

impl serde_json::ser::Formatter for PythonLayout {
    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"[")
    }
    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"]")
    }
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.before(writer, first)
    }
    fn end_array_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.filled = true;
        Ok(())
    }
    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"{")
    }
    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"}")
    }
    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.before(writer, first)
    }
    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(self.key.as_bytes())
    }
    fn end_object_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.filled = true;
        Ok(())
    }
}
