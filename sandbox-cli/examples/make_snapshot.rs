//! Writes `data/federation.csv`: a federation with the measured proportions of a real one, and no row borrowed from it.
//!
//!     cargo run -p sandbox-cli --example make_snapshot > data/federation.csv
//!
//! The output is the same on every machine: the generator is seeded, and the only logarithms and powers are `libm`'s,
//! which is pure Rust. Where the figures come from is told in `data/README.md`.

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::io::{self, BufWriter, Write};

/// The first seed that gives the largest server the region and the availability of the largest real one, in Germany.
const SEED: u64 = 6;

/// Servers in the federation.
const SERVERS: u32 = 9_528;

/// Users of the server at a rank. Between these points users fall along straight lines in log-log.
const USERS_AT_RANK: [(u32, u32); 15] = [
    (1, 2_986_648),
    (2, 277_823),
    (5, 189_094),
    (10, 78_832),
    (20, 51_260),
    (50, 24_036),
    (100, 9_141),
    (200, 2_994),
    (500, 600),
    (1_000, 118),
    (2_000, 21),
    (3_000, 9),
    (5_000, 3),
    (7_000, 2),
    (SERVERS, 1),
];

/// Where servers are: a country's share in per cent, and its nearest regions of `data/latency-aws-33.csv`, all of one
/// entry equally likely.
const REGIONS: [(u64, &[&str]); 10] = [
    // United States, the one country with several regions far apart
    (30, &["us-east-1", "us-east-2", "us-west-1", "us-west-2"]),
    // France, Germany, Japan, Canada
    (26, &["eu-west-3"]),
    (18, &["eu-central-1"]),
    (9, &["ap-northeast-1"]),
    (3, &["ca-central-1"]),
    // Netherlands, Finland, Great Britain, Singapore
    (2, &["eu-central-1"]),
    (2, &["eu-north-1"]),
    (2, &["eu-west-2"]),
    (1, &["ap-southeast-1"]),
    // all others
    (
        7,
        &[
            "af-south-1",
            "ap-east-1",
            "ap-east-2",
            "ap-northeast-2",
            "ap-northeast-3",
            "ap-south-1",
            "ap-south-2",
            "ap-southeast-2",
            "ap-southeast-3",
            "ap-southeast-4",
            "ap-southeast-5",
            "ap-southeast-7",
            "ca-west-1",
            "eu-central-2",
            "eu-south-1",
            "eu-south-2",
            "eu-west-1",
            "il-central-1",
            "me-central-1",
            "me-south-1",
            "mx-central-1",
            "sa-east-1",
        ],
    ),
];

/// Quantiles of the time that a server is up, both in per mille: straight lines between these points. Measured: 73 % of
/// the servers were up in every snapshot, the worst tenth in at most 91 %, all together in 96.2 %. The low end is what
/// gives that mean.
const UP_QUANTILES: [(u64, u64); 4] = [(0, 500), (100, 910), (270, 999), (1_000, 999)];

fn main() -> io::Result<()> {
    let mut generator = Xoshiro256PlusPlus::seed_from_u64(SEED);
    let mut out = BufWriter::new(io::stdout().lock());
    writeln!(out, "domain,region,users,up_per_mille")?;
    for rank in 1..=SERVERS {
        let region = region(&mut generator);
        let up = up_per_mille(below(1_000, &mut generator));
        writeln!(out, "hs{rank:05}.example,{region},{},{up}", users(rank))?;
    }
    out.flush()
}

/// Users at a rank, from 1 to [`SERVERS`].
fn users(rank: u32) -> u32 {
    let segment = USERS_AT_RANK[1..].partition_point(|(end, _)| *end < rank);
    let [(from, most), (to, least)] = [USERS_AT_RANK[segment], USERS_AT_RANK[segment + 1]];
    let ln = |number: u32| libm::log(f64::from(number));
    let way = (ln(rank) - ln(from)) / (ln(to) - ln(from));
    libm::round(libm::exp(ln(most) + way * (ln(least) - ln(most)))) as u32
}

/// A region: first a country by its share, then one of its regions.
fn region(generator: &mut impl Rng) -> &'static str {
    let mut percent = below(100, generator);
    let choice = below(1 << 32, generator);
    for (share, regions) in REGIONS {
        if percent < share {
            return regions[((choice * regions.len() as u64) >> 32) as usize];
        }
        percent -= share;
    }
    unreachable!("the shares add up to 100")
}

/// The time that a server at this quantile is up, both in per mille.
fn up_per_mille(quantile: u64) -> u64 {
    let segment = UP_QUANTILES[1..].partition_point(|(end, _)| *end <= quantile);
    let [(from, least), (to, most)] = [UP_QUANTILES[segment], UP_QUANTILES[segment + 1]];
    least + (most - least) * (quantile - from) / (to - from)
}

/// A number below `limit`, which is at most 2^32: the upper 32 bits are enough that none is noticeably likelier.
fn below(limit: u64, generator: &mut impl Rng) -> u64 {
    ((generator.next_u64() >> 32) * limit) >> 32
}
