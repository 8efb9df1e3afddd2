//! Progress, a line per step: one that changes on a terminal, plain ones elsewhere.

use std::collections::HashSet;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use owo_colors::OwoColorize;

/// Erases the line, and keeps what is longer than the terminal from wrapping: a wrapped line could
/// not be erased.
const REDRAW: &str = "\r\x1b[K\x1b[?7l";
const WRAP_AGAIN: &str = "\x1b[?7h";
/// What every pod passes through as it starts would only be noise in a log.
const WORTH_A_LINE: Duration = Duration::from_secs(3);

/// A step under way. Dropped without [`Step::done`], it is shown as failed.
pub(crate) struct Step {
    title: String,
    note: String,
    /// Since when the note is what it is.
    noted: Instant,
    /// Notes that stand on lines of their own already: what flaps is told once.
    told: HashSet<String>,
    begun: Instant,
    terminal: bool,
    ended: bool,
}

impl Step {
    /// Shows that the step called `title` begins.
    pub(crate) fn begin(title: &str) -> Self {
        let step = Self {
            title: title.to_owned(),
            note: String::new(),
            noted: Instant::now(),
            told: HashSet::new(),
            begun: Instant::now(),
            terminal: std::io::stdout().is_terminal(),
            ended: false,
        };
        step.draw();
        step
    }

    /// Shows what the step waits for; off a terminal, only what has lasted for some time.
    pub(crate) fn note(&mut self, note: &str) {
        if self.note != note {
            note.clone_into(&mut self.note);
            self.noted = Instant::now();
        }
        if self.terminal {
            self.draw();
        } else if self.noted.elapsed() > WORTH_A_LINE && self.told.insert(note.to_owned()) {
            write(&format!("  {}: {note}\n", self.title));
        }
    }

    /// Shows that the step has succeeded.
    pub(crate) fn done(mut self, result: &str) {
        self.ended = true;
        self.end(&"\u{2714}".green().to_string(), result);
    }

    fn draw(&self) {
        if self.terminal {
            let note = self.note.dimmed();
            write(&format!(
                "{REDRAW}{} {}  {note}{WRAP_AGAIN}",
                "\u{2026}".cyan(),
                self.title
            ));
        }
    }

    fn end(&self, mark: &str, result: &str) {
        let erase = if self.terminal { "\r\x1b[K" } else { "" };
        let took = format!("({})", seconds(self.begun.elapsed()));
        let gap = if result.is_empty() { "" } else { "  " };
        write(&format!(
            "{erase}{mark} {}{gap}{result} {}\n",
            self.title,
            took.dimmed()
        ));
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.ended {
            // Why stands in the error.
            self.end(&"\u{2718}".red().to_string(), "");
        }
    }
}

/// `3.2 s`.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f32())
}

fn write(text: &str) {
    let mut out = anstream::stdout();
    // Nobody may be reading; the work goes on.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
