//! Rows of a CSV text with their line numbers: what the readers of matrices and server lists share.

use csv::{ReaderBuilder, StringRecord, Trim};

/// One row that is not blank.
pub(crate) struct Row {
    /// The line it stands on, from 1.
    pub(crate) line: u64,
    cells: StringRecord,
}

impl Row {
    /// The cell of a column, trimmed; empty where the row is too short.
    pub(crate) fn cell(&self, column: usize) -> &str {
        self.cells.get(column).unwrap_or("")
    }

    /// All cells, trimmed.
    pub(crate) fn cells(&self) -> impl Iterator<Item = &str> {
        self.cells.iter()
    }

    /// How many cells there are.
    pub(crate) fn len(&self) -> usize {
        self.cells.len()
    }

    /// Which column has this name in its header, if the row is one.
    pub(crate) fn column(&self, name: &str) -> Option<usize> {
        self.cells().position(|cell| cell == name)
    }
}

/// The rows of a text, a header among them. Rows may differ in length: the readers know what they expect, and say so.
pub(crate) fn rows(text: &str) -> impl Iterator<Item = Row> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).as_bytes();
    let reader = ReaderBuilder::new().has_headers(false).flexible(true).trim(Trim::All).from_reader(text);
    let (mut counted, mut line) = (0, 1);
    reader.into_records().map(move |record| {
        let cells = record.expect("UTF-8 in memory, with rows of any length, is always CSV");
        // The crate gives a row the position where it went on reading: before blank lines, or between CR and LF. So
        // lines are counted here, up to the first byte that is no line end.
        let went_on = cells.position().map_or(0, |position| position.byte() as usize);
        let start =
            text[went_on..].iter().position(|byte| !b"\r\n".contains(byte)).map_or(text.len(), |at| went_on + at);
        line += text[counted..start].iter().filter(|byte| **byte == b'\n').count() as u64;
        counted = start;
        Row { line, cells }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_know_their_lines() {
        let text = "\u{feff}a,b\r\n1, 2 \r\n\"x\ny\",3\n4\n";
        let found: Vec<_> =
            rows(text).map(|row| (row.line, row.cells().map(str::to_owned).collect::<Vec<_>>())).collect();
        assert_eq!(
            found,
            [
                (1, vec!["a".into(), "b".into()]),
                (2, vec!["1".into(), "2".into()]),
                (3, vec!["x\ny".into(), "3".into()]),
                (5, vec!["4".into()])
            ]
        );
    }

    #[test]
    fn blank_lines_are_no_rows_but_count_as_lines() {
        let lines: Vec<_> = rows("\n\na\r\n\r\n\nb\n").map(|row| (row.line, row.cell(0).to_owned())).collect();
        assert_eq!(lines, [(3, "a".to_owned()), (6, "b".to_owned())]);
    }
}
