//! Rules as text.

use super::Table;

pub(super) fn table(table: &Table) -> String {
    let _ = table;
    todo!()
}
