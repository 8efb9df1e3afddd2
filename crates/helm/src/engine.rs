//! The template engine: one set of templates, executed by name.
//!
//! The engine's functions are plain function pointers, so `include` finds the set it belongs to in
//! a thread-local, which holds it for as long as a template of the set is executed.

use std::cell::RefCell;
use std::rc::Rc;

use gtmpl_ng::{Context, ExecError, FuncError, Limits, ParseError, Template, TemplateError, Value};

use crate::error::RenderError;
use crate::functions;

/// Name of the template that executes the one it is told to.
const ENTRY: &str = "";

/// How deep templates may include each other. The engine bounds nesting within one execution,
/// but every `include` is an execution of its own, on the same stack.
const MAX_INCLUDE_DEPTH: usize = 16;

thread_local! {
    static ACTIVE: RefCell<Vec<Rc<Template>>> = const { RefCell::new(Vec::new()) };
}

/// Templates that can include each other.
pub(crate) struct Engine(Rc<Template>);

impl Engine {
    /// Parses `templates`: pairs of name and text.
    ///
    /// # Errors
    /// [`RenderError::Dialect`] for the first that does not parse.
    pub(crate) fn parse<'a>(
        templates: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, RenderError> {
        // A chart is written by who installs it: what it renders is bounded by what it says.
        let mut set = Template::with_limits(Limits::unlimited());
        set.name = ENTRY.to_owned();
        set.funcs = functions::table();
        set.parse("{{ template (.name) .data }}")
            .expect("the entry template is well-formed");
        for (name, text) in templates {
            set.add_template(name, text)
                .map_err(|error| RenderError::Dialect {
                    template: name.to_owned(),
                    reason: parse_reason(&error),
                })?;
        }
        Ok(Engine(Rc::new(set)))
    }

    /// Executes the template `name` on `data`.
    ///
    /// # Errors
    /// [`RenderError::Template`].
    pub(crate) fn execute(&self, name: &str, data: &Value) -> Result<String, RenderError> {
        execute(&self.0, name, data).map_err(|error| RenderError::Template {
            template: name.to_owned(),
            reason: reason(&error, name),
        })
    }
}

/// The function `include NAME DATA`.
pub(crate) fn include(args: &[Value]) -> Result<Value, FuncError> {
    let [Value::String(name), data] = args else {
        return Err(FuncError::Generic(
            "include takes the name of a template and its data".to_owned(),
        ));
    };
    let set = ACTIVE.with_borrow(|active| active.last().cloned());
    let set = set.expect("functions run only while a template is executed");
    execute(&set, name, data)
        .map(Value::from)
        .map_err(|error| FuncError::Generic(reason(&error, name)))
}

fn execute(set: &Rc<Template>, name: &str, data: &Value) -> Result<String, ExecError> {
    let depth = ACTIVE.with_borrow_mut(|active| {
        active.push(Rc::clone(set));
        active.len()
    });
    let text = if depth > MAX_INCLUDE_DEPTH {
        Err(FuncError::Generic(format!(
            "templates include each other more than {MAX_INCLUDE_DEPTH} deep"
        ))
        .into())
    } else {
        let call = [
            ("name".to_owned(), name.into()),
            ("data".to_owned(), data.clone()),
        ];
        set.render(&Context::from(Value::Map(call.into())))
    };
    ACTIVE.with_borrow_mut(Vec::pop);
    // As Helm: what is absent renders as nothing.
    text.map(|text| text.replace("<no value>", ""))
}

/// What went wrong first and where, without the templates that led there.
fn reason(error: &ExecError, template: &str) -> String {
    let Some(structured) = error.as_structured() else {
        return error.to_string();
    };
    let (at, message) = (&structured.context, &structured.message);
    let place = format!("line {}, column {}", at.line, at.col);
    match at.name.as_str() {
        ENTRY => message.clone(),
        name if name == template => format!("{place}: {message}"),
        name => format!("{name} {place}: {message}"),
    }
}

fn parse_reason(error: &TemplateError) -> String {
    match error {
        TemplateError::ParseError(ParseError::WithContext(at, message)) => {
            format!("line {}, column {}: {message}", at.line, at.col)
        }
        other => other.to_string(),
    }
}
