//! Putting a report into a document that says more than the report.

use std::path::Path;

use anyhow::{Context, ensure};

/// Before the part of a document that a run writes anew.
const BEGIN: &str = "<!-- cargo bench-mesh writes from here -->";
/// After it.
const END: &str = "<!-- cargo bench-mesh writes to here -->";

/// Writes a report to a file; where the file has the two marks, only between them.
///
/// # Errors
/// When the file cannot be read or written, or has only one of the marks.
pub(super) fn save(path: &Path, report: &str) -> anyhow::Result<()> {
    let old = match std::fs::read_to_string(path) {
        Ok(old) => old,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    let new = replace(&old, report).with_context(|| path.display().to_string())?;
    std::fs::write(path, new).with_context(|| format!("write {}", path.display()))
}

fn replace(old: &str, report: &str) -> anyhow::Result<String> {
    let Some((before, rest)) = old.split_once(BEGIN) else {
        ensure!(
            !old.contains(END),
            "the mark {END:?} stands without {BEGIN:?}"
        );
        return Ok(report.to_owned());
    };
    let (_, after) = rest
        .split_once(END)
        .with_context(|| format!("the mark {BEGIN:?} stands without {END:?}"))?;
    Ok(format!("{before}{BEGIN}\n\n{report}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_stays() {
        let old = format!("# Title\n\n{BEGIN}\nold\n{END}\n\nfindings\n");
        let new = replace(&old, "report\n").unwrap();
        assert_eq!(
            new,
            format!("# Title\n\n{BEGIN}\n\nreport\n\n{END}\n\nfindings\n")
        );
        assert_eq!(replace(&new, "report\n").unwrap(), new);
        assert_eq!(replace("anything", "report").unwrap(), "report");
        assert!(replace(BEGIN, "report").is_err() && replace(END, "report").is_err());
    }
}
