//! How often which values occur, in a few rows.

/// Steps within a decade, from fine to coarse. The finest that needs few enough rows is used.
const SERIES: [&[u64]; 4] = [&[10, 15, 20, 30, 50, 70], &[10, 20, 50], &[10, 30], &[10]];

/// Values counted in rows, the least first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Histogram {
    /// The rows, without gaps; the first and the last are not empty.
    pub rows: Vec<Row>,
    /// How many values there are in all.
    pub total: u64,
}

/// The values from `from` up to, but not including, `to`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    /// The least value that counts here.
    pub from: u64,
    /// The first that does not any more; none for a row without an end.
    pub to: Option<u64>,
    /// How many there are.
    pub count: u64,
}

impl Row {
    /// The values in words: `2`, `50–69`, `≥ 8`.
    pub fn label(&self) -> String {
        match self.to {
            Some(to) if to == self.from + 1 => self.from.to_string(),
            Some(to) => format!("{}–{}", self.from, to - 1),
            None => format!("≥ {}", self.from),
        }
    }
}

impl Histogram {
    /// A row for each whole number; what does not fit in `rows_max` rows (at least 1) shares the last.
    pub fn whole<T: Copy + Into<u64>>(samples: &[T], rows_max: usize) -> Self {
        let Some((least, most)) = range(samples) else { return Self::counted(samples, Vec::new(), None) };
        let rows = (most - least).saturating_add(1).min(rows_max as u64);
        let open = most - least >= rows;
        let edges = (0..rows).map(|row| least + row).collect();
        Self::counted(samples, edges, if open { None } else { most.checked_add(1) })
    }

    /// Rows that grow with the values, at round numbers; single values if there are few. At most `rows_max` (at least 1).
    pub fn logarithmic<T: Copy + Into<u64>>(samples: &[T], rows_max: usize) -> Self {
        let Some((least, most)) = range(samples) else { return Self::counted(samples, Vec::new(), None) };
        if most - least < rows_max as u64 {
            return Self::whole(samples, rows_max);
        }
        let fits = |series| Some(edges(series, least, most)).filter(|edges: &Vec<u64>| edges.len() <= rows_max + 1);
        match SERIES.into_iter().find_map(fits) {
            Some(mut edges) => {
                let end = edges.pop_if(|last| *last > most);
                Self::counted(samples, edges, end)
            }
            None => {
                let mut edges = edges(SERIES[SERIES.len() - 1], least, most);
                edges.truncate(rows_max);
                Self::counted(samples, edges, None)
            }
        }
    }

    /// Counts the samples between ascending edges; none lies below the first.
    fn counted<T: Copy + Into<u64>>(samples: &[T], edges: Vec<u64>, end: Option<u64>) -> Self {
        let ends = edges.iter().skip(1).copied().map(Some).chain([end]);
        let mut rows: Vec<_> = edges.iter().zip(ends).map(|(from, to)| Row { from: *from, to, count: 0 }).collect();
        for sample in samples {
            let value = (*sample).into();
            let row = edges.partition_point(|edge| *edge <= value);
            rows[row - 1].count += 1;
        }
        Self { rows, total: samples.len() as u64 }
    }
}

fn range<T: Copy + Into<u64>>(samples: &[T]) -> Option<(u64, u64)> {
    let values = samples.iter().map(|sample| (*sample).into());
    Some((values.clone().min()?, values.max()?))
}

/// The edges of a series that enclose both values: the first at or below `least`, the last above `most`.
fn edges(series: &[u64], least: u64, most: u64) -> Vec<u64> {
    let mut edges = vec![0];
    let decades = std::iter::successors(Some(1u64), |decade| decade.checked_mul(10));
    for edge in decades.flat_map(|decade| series.iter().map(move |step| decade.saturating_mul(*step) / 10)) {
        // Fine steps within 1 to 10 are no whole numbers: 1.5 and 1 are the same edge.
        if edges.last().is_some_and(|last| edge <= *last) {
            continue;
        }
        if edge <= least {
            edges.clear();
        }
        edges.push(edge);
        if edge > most {
            break;
        }
    }
    edges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(histogram: &Histogram) -> Vec<(String, u64)> {
        histogram.rows.iter().map(|row| (row.label(), row.count)).collect()
    }

    fn owned(rows: &[(&str, u64)]) -> Vec<(String, u64)> {
        rows.iter().map(|(label, count)| ((*label).to_owned(), *count)).collect()
    }

    #[test]
    fn round_trips_get_a_row_each_and_the_rest_share_the_last() {
        let histogram = Histogram::whole(&[1u32, 1, 1, 3], 8);
        assert_eq!(shape(&histogram), owned(&[("1", 3), ("2", 0), ("3", 1)]));
        let histogram = Histogram::whole(&[1u32, 2, 9, 40], 3);
        assert_eq!(shape(&histogram), owned(&[("1", 1), ("2", 1), ("≥ 3", 2)]));
    }

    #[test]
    fn latencies_get_rows_at_round_numbers() {
        let histogram = Histogram::logarithmic(&[42u32, 99, 100, 120, 480], 8);
        let rows = [("30–49", 1), ("50–69", 0), ("70–99", 1), ("100–149", 2), ("150–199", 0), ("200–299", 0)];
        let rows: Vec<_> = rows.into_iter().chain([("300–499", 1)]).collect();
        assert_eq!(shape(&histogram), owned(&rows));
    }

    #[test]
    fn no_samples_make_no_rows() {
        assert_eq!(Histogram::whole::<u32>(&[], 8), Histogram { rows: Vec::new(), total: 0 });
        assert_eq!(Histogram::logarithmic::<u32>(&[], 8).rows, []);
    }

    #[test]
    fn every_sample_is_in_exactly_one_row_and_rows_are_few() {
        let sets: [&[u64]; 6] =
            [&[0], &[0, 1_000_000_000_000], &[u64::MAX, 0], &[5, 14, 23], &[7; 9], &[u64::MAX, u64::MAX - 1]];
        for samples in sets {
            for histogram in [Histogram::logarithmic(samples, 8), Histogram::whole(samples, 8)] {
                assert_eq!(histogram.rows.iter().map(|row| row.count).sum::<u64>(), samples.len() as u64);
                assert!((1..=8).contains(&histogram.rows.len()), "{samples:?}");
                assert!(histogram.rows[0].count > 0 && histogram.rows.last().unwrap().count > 0, "{histogram:?}");
            }
        }
    }
}
