//! Measured delays between places, read from CSV.

use crate::rows::{Row, rows};
use routing_core::time::Ticks;
use std::collections::BTreeMap;

/// The columns by which a long matrix is recognised; of the last two the first one found is read.
const FROM: &str = "from";
const TO: &str = "to";
const ROUND_TRIP: [&str; 2] = ["rtt_p50_ms", "rtt_avg_ms"];

/// A square table of one-way delays between labelled places, in whole ticks.
///
/// It is read from round-trip times in ms: the way there is taken as half of them, rounded, and at least one tick. Two
/// forms are understood:
///
/// - *square*: one row and one column for each place, in the same order. If the first cell is a number the table has no
///   labels, and its places are called `0`, `1`, …; otherwise the first row and the first column are the labels.
/// - *long*: one row for each ordered pair, a place and itself included. The header names the columns `from`, `to` and
///   `rtt_p50_ms` or `rtt_avg_ms`; other columns are ignored. Places are numbered as they appear.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Matrix {
    labels: Vec<String>,
    places: BTreeMap<String, u32>,
    /// Row by row. Two bytes a cell keep a table of some hundred places within a core's own cache.
    one_way: Vec<u16>,
}

impl Matrix {
    /// Reads a table. `file` only names it in errors.
    pub fn parse(text: &str, file: &str) -> Result<Matrix, MatrixError> {
        Self::read(text).map_err(|(line, fault)| MatrixError { file: file.to_owned(), line, fault })
    }

    fn read(text: &str) -> Result<Matrix, Located> {
        let mut rows = rows(text);
        let first = rows.next().ok_or((1, MatrixFault::Empty))?;
        if number(first.cell(0)).is_some() {
            let labels = (0..first.len()).map(|place| place.to_string()).collect();
            Self::read_square(Labels::new(labels, first.line)?, 0, std::iter::once(first).chain(rows))
        } else if [FROM, TO].iter().chain(&ROUND_TRIP).any(|name| first.column(name).is_some()) {
            Self::read_long(&first, rows)
        } else {
            let labels = first.cells().skip(1).map(str::to_owned).collect();
            Self::read_square(Labels::new(labels, first.line)?, 1, rows)
        }
    }

    /// Reads the rows of a square table, each after `skip` (0 or 1) label.
    fn read_square(labels: Labels, skip: usize, rows: impl Iterator<Item = Row>) -> Result<Matrix, Located> {
        let places = labels.names.len();
        let mut one_way = Vec::new();
        let (mut read, mut last_line) = (0, 1);
        for row in rows {
            let fail = |fault| Err((row.line, fault));
            let Some(label) = labels.names.get(read) else {
                return fail(MatrixFault::Rows { found: read + 1, columns: places });
            };
            if skip == 1 && row.cell(0) != label {
                return fail(MatrixFault::RowLabel { found: row.cell(0).to_owned(), expected: label.clone() });
            }
            if row.len() != places + skip {
                return fail(MatrixFault::Cells { found: row.len(), expected: places + skip });
            }
            for (cell, column) in row.cells().skip(skip).zip(&labels.names) {
                one_way.push(half(cell, column).map_err(|fault| (row.line, fault))?);
            }
            (read, last_line) = (read + 1, row.line);
        }
        if read < places {
            return Err((last_line, MatrixFault::Rows { found: read, columns: places }));
        }
        Ok(Matrix { labels: labels.names, places: labels.places, one_way })
    }

    /// Reads the rows of a long table.
    fn read_long(header: &Row, rows: impl Iterator<Item = Row>) -> Result<Matrix, Located> {
        let column = |name: &'static str| header.column(name).ok_or((header.line, MatrixFault::NoColumn(name)));
        let (from, to) = (column(FROM)?, column(TO)?);
        let (round_trip_name, round_trip) = ROUND_TRIP
            .iter()
            .find_map(|name| Some((*name, header.column(name)?)))
            .ok_or((header.line, MatrixFault::NoColumn("rtt_p50_ms or rtt_avg_ms")))?;

        let mut labels = Labels::default();
        let mut pairs = Vec::new();
        let mut last_line = header.line;
        for row in rows {
            let fail = |fault| (row.line, fault);
            let pair = (labels.place(row.cell(from), FROM), labels.place(row.cell(to), TO));
            let (from, to) = (pair.0.map_err(fail)?, pair.1.map_err(fail)?);
            let delay = half(row.cell(round_trip), round_trip_name).map_err(fail)?;
            pairs.push((from, to, row.line, delay));
            last_line = row.line;
        }
        if pairs.is_empty() {
            return Err((last_line, MatrixFault::Empty));
        }

        // Sorted, a complete list is exactly the pairs in row order; the first step out of it is the fault. Nothing as
        // large as places × places is made before it is known that the file was so large itself.
        pairs.sort_unstable();
        let name = |place: u32| labels.names[place as usize].clone();
        if let Some((_, twice)) = pairs.iter().zip(&pairs[1..]).find(|(a, b)| (a.0, a.1) == (b.0, b.1)) {
            return Err((twice.2, MatrixFault::PairTwice { from: name(twice.0), to: name(twice.1) }));
        }
        let places = labels.names.len() as u32;
        let all = (0..places).flat_map(|from| (0..places).map(move |to| (from, to)));
        let mut found = pairs.iter();
        if let Some((from, to)) = all.into_iter().find(|pair| found.next().is_none_or(|(a, b, ..)| *pair != (*a, *b))) {
            return Err((last_line, MatrixFault::PairMissing { from: name(from), to: name(to) }));
        }
        let one_way = pairs.into_iter().map(|(.., delay)| delay).collect();
        Ok(Matrix { labels: labels.names, places: labels.places, one_way })
    }

    /// The names of the places, in their order.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// How many places there are, at least one.
    pub fn places(&self) -> u32 {
        self.labels.len() as u32
    }

    /// The place with this label.
    pub fn place_for(&self, label: &str) -> Option<u32> {
        self.places.get(label).copied()
    }

    /// How long a message takes from one place to another, at least one tick.
    ///
    /// # Panics
    ///
    /// Both places must be below [`Matrix::places`].
    #[inline]
    pub fn one_way(&self, from: u32, to: u32) -> Ticks {
        let places = self.labels.len();
        assert!((to as usize) < places, "place {to} of a matrix of {places}");
        Ticks(u64::from(self.one_way[from as usize * places + to as usize]))
    }
}

type Located = (u64, MatrixFault);

/// Names and numbers of places.
#[derive(Default)]
struct Labels {
    names: Vec<String>,
    places: BTreeMap<String, u32>,
}

impl Labels {
    /// The labels in a header.
    fn new(names: Vec<String>, line: u64) -> Result<Labels, Located> {
        let mut labels = Labels::default();
        for name in &names {
            let next = labels.names.len() as u32;
            if labels.place(name, "the header").map_err(|fault| (line, fault))? != next {
                return Err((line, MatrixFault::LabelTwice(name.clone())));
            }
        }
        if names.is_empty() { Err((line, MatrixFault::Empty)) } else { Ok(labels) }
    }

    /// The place with this name, a new one if it has not been seen before.
    fn place(&mut self, name: &str, column: &'static str) -> Result<u32, MatrixFault> {
        if let Some(place) = self.places.get(name) {
            return Ok(*place);
        }
        if name.is_empty() {
            return Err(MatrixFault::NoLabel(column));
        }
        let place = self.names.len() as u32;
        self.places.insert(name.to_owned(), place);
        self.names.push(name.to_owned());
        Ok(place)
    }
}

fn number(cell: &str) -> Option<f64> {
    cell.parse().ok().filter(|number: &f64| number.is_finite())
}

/// Half of a round-trip time in ms, in whole ticks.
fn half(cell: &str, column: &str) -> Result<u16, MatrixFault> {
    let Some(round_trip) = number(cell).filter(|number| *number >= 0.0) else {
        return Err(MatrixFault::Cell { column: column.to_owned(), found: cell.to_owned() });
    };
    let one_way = (round_trip / 2.0).round().max(1.0);
    if one_way > f64::from(u16::MAX) {
        return Err(MatrixFault::TooLong { column: column.to_owned(), found: cell.to_owned() });
    }
    Ok(one_way as u16)
}

/// A text that is no matrix of round-trip times: where and why.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{file}, line {line}: {fault}")]
pub struct MatrixError {
    /// The file, as the reader was told.
    pub file: String,
    /// The line, from 1; for what is missing, the last one.
    pub line: u64,
    /// What is wrong there.
    pub fault: MatrixFault,
}

/// What is wrong with a matrix.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MatrixFault {
    /// No places at all.
    #[error("no delays; expected a square table of round-trip times in ms, or rows of from, to and rtt_p50_ms")]
    Empty,
    /// The header of a long matrix lacks a column.
    #[error("no column {0}; a long matrix has the columns from, to and rtt_p50_ms (or rtt_avg_ms)")]
    NoColumn(&'static str),
    /// A label is empty.
    #[error("an empty label in {0}; expected the name of a place")]
    NoLabel(&'static str),
    /// Two columns of a square table have the same label.
    #[error("{0:?} labels two columns; expected each place once")]
    LabelTwice(String),
    /// The rows of a square table are not labelled as its columns.
    #[error(
        "a row labelled {found:?} where {expected:?} was expected; a square table has the same labels across and down, \
         a long one the columns from, to and rtt_p50_ms (or rtt_avg_ms)"
    )]
    RowLabel {
        /// The row's label.
        found: String,
        /// The label of the column with the same number.
        expected: String,
    },
    /// A row of a square table is too short or too long.
    #[error("{found} cells in this row; expected {expected}, as in the first")]
    Cells {
        /// Cells in the row.
        found: usize,
        /// Cells in the first row.
        expected: usize,
    },
    /// A square table has too few or too many rows.
    #[error("{found} rows of delays up to here; expected {columns}, as many as columns")]
    Rows {
        /// Rows counted.
        found: usize,
        /// Columns of delays.
        columns: usize,
    },
    /// A cell is empty, negative or no number.
    #[error("{found:?} in column {column}; expected a round-trip time in ms, 0 or more")]
    Cell {
        /// The column's name or label.
        column: String,
        /// The cell.
        found: String,
    },
    /// A cell is beyond what the table holds: two minutes and eleven seconds.
    #[error("{found} in column {column} is longer than 131070 ms; expected a round-trip time in ms, not in µs or ns")]
    TooLong {
        /// The column's name or label.
        column: String,
        /// The cell.
        found: String,
    },
    /// A long matrix has a pair twice.
    #[error("a second row from {from:?} to {to:?}; expected each ordered pair once")]
    PairTwice {
        /// The sender's place.
        from: String,
        /// The receiver's place.
        to: String,
    },
    /// A long matrix lacks a pair.
    #[error("the file ends without a row from {from:?} to {to:?}; expected each ordered pair, a place and itself too")]
    PairMissing {
        /// The sender's place.
        from: String,
        /// The receiver's place.
        to: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> (u64, MatrixFault) {
        let error = Matrix::parse(text, "m.csv").unwrap_err();
        assert!(error.to_string().starts_with(&format!("m.csv, line {}: ", error.line)), "{error}");
        (error.line, error.fault)
    }

    fn cells(matrix: &Matrix) -> Vec<u64> {
        let places = matrix.places();
        (0..places)
            .flat_map(|from| (0..places).map(move |to| (from, to)))
            .map(|(a, b)| matrix.one_way(a, b).0)
            .collect()
    }

    #[test]
    fn a_square_table_is_read_with_its_labels() {
        let matrix = Matrix::parse("city,Oslo,Rome\nOslo,0,41.2\nRome,39,0.4\n", "m.csv").unwrap();
        assert_eq!(matrix.labels(), ["Oslo", "Rome"]);
        assert_eq!(cells(&matrix), [1, 21, 20, 1], "half, rounded, at least one");
        assert_eq!((matrix.place_for("Rome"), matrix.place_for("Bonn")), (Some(1), None));
    }

    #[test]
    fn a_square_table_without_header_is_labelled_by_number() {
        let matrix = Matrix::parse("0,100\n200,0\n", "m.csv").unwrap();
        assert_eq!(matrix.labels(), ["0", "1"]);
        assert_eq!(cells(&matrix), [1, 50, 100, 1]);
        assert_eq!(Matrix::parse("7", "m.csv").unwrap().places(), 1);
    }

    #[test]
    fn a_long_table_is_read_by_the_names_of_its_columns_in_any_order_of_rows() {
        let text = "rtt_max_ms,to,rtt_avg_ms,from\n9,b,8,b\n9,a,6,b\n9,a,2,a\n9,b,4,a\n";
        let matrix = Matrix::parse(text, "m.csv").unwrap();
        assert_eq!(matrix.labels(), ["b", "a"], "in order of appearance");
        assert_eq!(cells(&matrix), [4, 3, 2, 1]);
        let both = Matrix::parse("from,to,rtt_avg_ms,rtt_p50_ms\na,a,20,40\n", "m.csv").unwrap();
        assert_eq!(cells(&both), [20], "the median is preferred");
    }

    #[test]
    fn the_table_of_cloud_regions_is_read_as_measured() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/latency-aws-33.csv");
        let matrix = Matrix::parse(&std::fs::read_to_string(file).unwrap(), file).unwrap();
        assert_eq!(matrix.places(), 33);
        let place = |label| matrix.place_for(label).unwrap();
        assert_eq!(matrix.one_way(place("af-south-1"), place("ap-east-1")), Ticks(174), "347.6 ms there and back");
        assert_eq!(matrix.one_way(place("af-south-1"), place("af-south-1")), Ticks(2));
    }

    #[test]
    fn a_missing_or_repeated_pair_is_named() {
        let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        let (from, to) = pair("b", "a");
        let text = "from,to,rtt_p50_ms\na,a,1\na,b,1\nb,b,1\n";
        assert_eq!(fault(text), (4, MatrixFault::PairMissing { from: from.clone(), to: to.clone() }));
        let (b, _) = pair("b", "");
        let text = "from,to,rtt_p50_ms\na,a,1\na,b,1\nb,a,1\n";
        assert_eq!(fault(text), (4, MatrixFault::PairMissing { from: b.clone(), to: b }));
        let text = "from,to,rtt_p50_ms\na,a,1\nb,a,1\na,b,1\nb,a,1\nb,b,1\n";
        assert_eq!(fault(text), (5, MatrixFault::PairTwice { from, to }));
        assert_eq!(fault("from,to,rtt_p50_ms\n"), (1, MatrixFault::Empty));
        assert_eq!(fault("from,to,rtt_p50_ms\na,,1\n"), (2, MatrixFault::NoLabel("to")));
    }

    #[test]
    fn a_header_that_is_not_understood_says_which_columns_are() {
        assert_eq!(fault("from,rtt_p50_ms\na,1\n"), (1, MatrixFault::NoColumn("to")));
        assert_eq!(fault("from,to,ms\na,a,1\n"), (1, MatrixFault::NoColumn("rtt_p50_ms or rtt_avg_ms")));
        let (line, found) = fault("country1,country2,pings\nAD,BE,10\n");
        assert_eq!((line, &found), (2, &MatrixFault::RowLabel { found: "AD".into(), expected: "country2".into() }));
        assert!(found.to_string().contains("from, to and rtt_p50_ms"));
    }

    #[test]
    fn a_table_that_is_not_square_is_refused() {
        assert_eq!(fault(""), (1, MatrixFault::Empty));
        assert_eq!(fault("city\n"), (1, MatrixFault::Empty));
        assert_eq!(fault("1,2\n3\n"), (2, MatrixFault::Cells { found: 1, expected: 2 }));
        assert_eq!(fault("1,2\n3,4,5\n"), (2, MatrixFault::Cells { found: 3, expected: 2 }));
        assert_eq!(fault("1,2\n"), (1, MatrixFault::Rows { found: 1, columns: 2 }));
        assert_eq!(fault("1,2\n3,4\n5,6\n"), (3, MatrixFault::Rows { found: 3, columns: 2 }));
        assert_eq!(fault("city,a,a\n"), (1, MatrixFault::LabelTwice("a".into())));
        assert_eq!(fault("city,a,\n"), (1, MatrixFault::NoLabel("the header")));
    }

    #[test]
    fn a_cell_that_is_no_round_trip_time_is_named() {
        for cell in ["-1", "", "fast", "NaN", "inf", "1e999"] {
            let column = "1".to_owned();
            assert_eq!(fault(&format!("0,1\n2,{cell}\n")), (2, MatrixFault::Cell { column, found: cell.into() }));
            let column = "rtt_p50_ms".to_owned();
            let text = format!("from,to,rtt_p50_ms\na,a,{cell}\n");
            assert_eq!(fault(&text), (2, MatrixFault::Cell { column, found: cell.into() }));
        }
        let microseconds = MatrixFault::TooLong { column: "0".into(), found: "131072".into() };
        assert_eq!(fault("131072\n"), (1, microseconds));
    }
}
