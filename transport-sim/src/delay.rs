//! How long messages take, and which of them are lost.
//!
//! Nothing here is drawn from a shared generator. Delay and loss of a message are pure functions of the seed, its
//! sender and the sender's sequence number (the delay of the two places as well), so they are the same in whatever
//! order, and on however many threads, the messages are sent.
//!
//! That holds on every machine too: the noise is integer arithmetic, and what is computed from it uses only additions
//! and multiplications of `f64`, which IEEE 754 fixes to the bit, and logarithms of the crate `libm`, which is pure
//! Rust made of the same. The standard library's `f64::ln` may differ from platform to platform, so it is not used.
//! (32-bit x86 without SSE2 rounds differently and is left out of the promise.)

mod matrix;

pub use matrix::{Matrix, MatrixError, MatrixFault};

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::SplitMix64;
use routing_core::time::Ticks;
use serde::{Deserialize, Deserializer, de};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a scenario says of delays: `delay = { kind = "uniform", min = "20ms", max = "120ms" }`.
///
/// All of it is one way. A message takes at least one tick, so that what a tick sends arrives in a later one; a span of
/// zero counts as one tick.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields, remote = "Self")]
pub enum DelaySpec {
    /// Each message takes the same time.
    Constant {
        /// The time.
        value: Ticks,
    },
    /// Each whole number of ticks from `min` to `max` is as likely as any other.
    Uniform {
        /// The least.
        min: Ticks,
        /// The most; not below `min`.
        max: Ticks,
    },
    /// Measured delays between places.
    Matrix {
        /// The CSV with round-trip times, see [`Matrix`]; a relative path starts at the scenario's folder.
        file: PathBuf,
        /// Each delay is multiplied by 1 + jitter · x, x exponential with mean 1. A number, 0 or more; 0 without it.
        #[serde(default)]
        jitter: f64,
    },
}

impl Default for DelaySpec {
    /// Uniform, 20 ms to 120 ms.
    fn default() -> Self {
        DelaySpec::Uniform { min: Ticks::millis(20), max: Ticks::millis(120) }
    }
}

impl DelaySpec {
    /// Finds values that make no sense; also done by [`Delay::load`] and when a scenario is read.
    pub fn check(&self) -> Result<(), DelayError> {
        match self {
            DelaySpec::Uniform { min, max } if min > max => Err(DelayError::Range { min: *min, max: *max }),
            DelaySpec::Matrix { jitter, .. } => check_jitter(*jitter),
            DelaySpec::Constant { .. } | DelaySpec::Uniform { .. } => Ok(()),
        }
    }
}

// Checked while it is read, so that the error carries the place in the scenario.
impl<'de> Deserialize<'de> for DelaySpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spec = DelaySpec::deserialize(deserializer)?;
        spec.check().map_err(de::Error::custom)?;
        Ok(spec)
    }
}

fn check_jitter(jitter: f64) -> Result<(), DelayError> {
    // Not `jitter < 0.0`: that would let NaN pass.
    if jitter.is_finite() && jitter >= 0.0 { Ok(()) } else { Err(DelayError::Jitter(jitter)) }
}

/// Why there are no delays to simulate with.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DelayError {
    /// An empty range.
    #[error("min = {min} is above max = {max}; expected min to be the lesser")]
    Range {
        /// The lower end as given.
        min: Ticks,
        /// The upper end as given.
        max: Ticks,
    },
    /// A jitter that is negative or no number.
    #[error("jitter = {0}; expected a number, 0 or more, such as 0.1")]
    Jitter(f64),
    /// The matrix cannot be read.
    #[error("{}: {reason}; expected a readable CSV with round-trip times", file.display())]
    Unreadable {
        /// The path that was tried.
        file: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The matrix is not understood.
    #[error(transparent)]
    Matrix(#[from] MatrixError),
}

/// The delays and losses of a run. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Delay {
    model: Model,
    delay_key: u64,
    loss_key: u64,
    double_key: u64,
    again_key: u64,
}

#[derive(Clone, Debug)]
enum Model {
    Constant(Ticks),
    Uniform { min: u64, max: u64 },
    Matrix { matrix: Arc<Matrix>, jitter: f64, exponential: Exponential },
}

impl Delay {
    /// The delays of a scenario, whose matrix, if any, is read here. `folder` is where the scenario's relative paths
    /// start.
    pub fn load(spec: &DelaySpec, folder: &Path, seed: u64) -> Result<Delay, DelayError> {
        spec.check()?;
        Ok(match spec {
            DelaySpec::Constant { value } => Delay::new(Model::Constant(Ticks(value.0.max(1))), seed),
            DelaySpec::Uniform { min, max } => {
                Delay::new(Model::Uniform { min: min.0.max(1), max: max.0.max(1) }, seed)
            }
            DelaySpec::Matrix { file, jitter } => {
                let file = folder.join(file);
                let text = std::fs::read_to_string(&file)
                    .map_err(|error| DelayError::Unreadable { file: file.clone(), reason: error.to_string() })?;
                let matrix = Arc::new(Matrix::parse(&text, &file.display().to_string())?);
                Delay::with_matrix(matrix, *jitter, seed)?
            }
        })
    }

    /// Delays by a matrix that has been read already.
    pub fn with_matrix(matrix: Arc<Matrix>, jitter: f64, seed: u64) -> Result<Delay, DelayError> {
        check_jitter(jitter)?;
        Ok(Delay::new(Model::Matrix { matrix, jitter, exponential: Exponential::new() }, seed))
    }

    fn new(model: Model, seed: u64) -> Delay {
        let key = |purpose: &[u8; 8]| mix(seed ^ u64::from_le_bytes(*purpose));
        Delay {
            model,
            delay_key: key(b"delay   "),
            loss_key: key(b"loss    "),
            double_key: key(b"double  "),
            again_key: key(b"again   "),
        }
    }

    /// How long a message takes: at least one tick.
    ///
    /// `sender` and `sequence` name the message: which node or client sent it, and its number among all that this one
    /// sent.
    ///
    /// # Panics
    ///
    /// With a matrix both places must be below [`Delay::places`]; without one they are not looked at.
    #[inline]
    pub fn one_way(&self, from_place: u32, to_place: u32, sender: u64, sequence: u64) -> Ticks {
        self.drawn(self.delay_key, from_place, to_place, sender, sequence)
    }

    /// How long the second copy of a message takes that arrives twice: drawn as [`Delay::one_way`] draws, and
    /// independent of it.
    ///
    /// # Panics
    ///
    /// As [`Delay::one_way`].
    pub fn one_way_again(&self, from_place: u32, to_place: u32, sender: u64, sequence: u64) -> Ticks {
        self.drawn(self.again_key, from_place, to_place, sender, sequence)
    }

    #[inline]
    fn drawn(&self, key: u64, from_place: u32, to_place: u32, sender: u64, sequence: u64) -> Ticks {
        match &self.model {
            Model::Constant(value) => *value,
            Model::Uniform { min, max } => {
                let choices = u128::from(max - min) + 1;
                let noise = u128::from(noise(key, sender, sequence));
                Ticks(min + ((noise * choices) >> 64) as u64)
            }
            Model::Matrix { matrix, jitter, exponential } => {
                let base = matrix.one_way(from_place, to_place);
                if *jitter == 0.0 {
                    return base;
                }
                let factor = 1.0 + jitter * exponential.of(noise(key, sender, sequence));
                // Rounded to the nearest; never below the base, which is at least one tick.
                Ticks((base.0 as f64 * factor + 0.5) as u64)
            }
        }
    }

    /// Whether a message is lost, at a rate from 0 (never) to 1 (always). Independent of its delay; and at a higher
    /// rate all that is lost at a lower one is lost too.
    #[inline]
    pub fn lost(&self, rate: f64, sender: u64, sequence: u64) -> bool {
        rate > 0.0 && unit(noise(self.loss_key, sender, sequence)) < rate
    }

    /// Whether a message arrives twice, at a rate from 0 (never) to 1 (always). Independent of its delay and its loss.
    #[inline]
    pub fn doubled(&self, rate: f64, sender: u64, sequence: u64) -> bool {
        rate > 0.0 && unit(noise(self.double_key, sender, sequence)) < rate
    }

    /// The place of a node in this region, if the matrix has that label. Without a matrix no region has a place of its
    /// own.
    pub fn place_for(&self, region: &str) -> Option<u32> {
        self.matrix()?.place_for(region)
    }

    /// How many places there are: those of the matrix, or 1 without one. For a node without a place of its own the
    /// caller draws one below this.
    pub fn places(&self) -> u32 {
        self.matrix().map_or(1, Matrix::places)
    }

    /// The matrix, if delays are measured ones.
    pub fn matrix(&self) -> Option<&Matrix> {
        match &self.model {
            Model::Matrix { matrix, .. } => Some(matrix),
            Model::Constant(_) | Model::Uniform { .. } => None,
        }
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): a bijection in which each bit of the result hangs
/// on each bit of `x`. The crate's generator, seeded with `x` and asked once, is exactly that, without state beyond.
#[inline]
fn mix(x: u64) -> u64 {
    SplitMix64::seed_from_u64(x).next_u64()
}

/// 64 random bits for one purpose (the key holds purpose and seed) and one message.
#[inline]
fn noise(key: u64, sender: u64, sequence: u64) -> u64 {
    mix(mix(key ^ sender) ^ sequence)
}

/// From 0 to just below 1, in steps of 2^-53.
#[inline]
fn unit(noise: u64) -> f64 {
    (noise >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
}

/// Exponential noise with mean 1, from just above 0 to 44.4, without a logarithm for each message.
///
/// For u = m / 2^e, with m from 1 to 2, -ln(u) is e · ln 2 - ln(m). Here e is counted from the noise's leading zeros,
/// and ln(m) comes from a table in steps of 1/512. So x is off by at most 1/1024: less than a tick as long as delay ·
/// jitter is below a second. With it a delay takes about 10 ns to draw, with `libm::log` 20.
#[derive(Clone, Debug)]
struct Exponential(Arc<[f64; 512]>);

impl Exponential {
    fn new() -> Self {
        Self(Arc::new(std::array::from_fn(|step| libm::log(1.0 + (step as f64 + 0.5) / 512.0))))
    }

    #[inline]
    fn of(&self, noise: u64) -> f64 {
        let zeros = (noise | 1).leading_zeros();
        let step = (noise << zeros << 1) >> (64 - 9);
        f64::from(zeros + 1) * std::f64::consts::LN_2 - self.0[step as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGES: u64 = 200_000;

    fn spec(text: &str) -> Result<DelaySpec, toml::de::Error> {
        #[derive(Deserialize)]
        struct Network {
            delay: DelaySpec,
        }
        toml::from_str(text).map(|network: Network| network.delay)
    }

    fn uniform(min: u64, max: u64, seed: u64) -> Delay {
        Delay::load(&DelaySpec::Uniform { min: Ticks(min), max: Ticks(max) }, Path::new(""), seed).unwrap()
    }

    fn measured(text: &str, jitter: f64, seed: u64) -> Delay {
        Delay::with_matrix(Arc::new(Matrix::parse(text, "m.csv").unwrap()), jitter, seed).unwrap()
    }

    fn mean(values: impl Iterator<Item = f64>) -> f64 {
        let (count, sum) = values.fold((0.0, 0.0), |(count, sum), value| (count + 1.0, sum + value));
        sum / count
    }

    #[test]
    fn as_many_messages_are_doubled_as_the_rate_says_and_both_copies_take_their_own_time() {
        let spec = DelaySpec::Uniform { min: Ticks(1), max: Ticks(1_000) };
        let delay = Delay::load(&spec, Path::new(""), 5).unwrap();
        let (mut doubled, mut lost_too, mut alike) = (0, 0, 0);
        for sequence in 0..MESSAGES {
            if delay.doubled(0.1, 3, sequence) {
                doubled += 1;
                lost_too += u64::from(delay.lost(0.1, 3, sequence));
            }
            alike += u64::from(delay.one_way(0, 0, 3, sequence) == delay.one_way_again(0, 0, 3, sequence));
        }
        let about = |count: u64, share: f64| (count as f64 / MESSAGES as f64 / share - 1.0).abs() < 0.2;
        assert!(about(doubled, 0.1) && about(lost_too, 0.01) && about(alike, 0.001), "{doubled} {lost_too} {alike}");
        assert!(!delay.doubled(0.0, 3, 1) && delay.doubled(1.0, 3, 1));
    }

    #[test]
    fn the_three_kinds_are_read_from_a_scenario() {
        let read = |text| spec(text).unwrap();
        assert_eq!(read("delay = { kind = \"constant\", value = \"5ms\" }"), DelaySpec::Constant { value: Ticks(5) });
        assert_eq!(
            read("delay = { kind = \"uniform\", min = \"20ms\", max = \"120ms\" }"),
            DelaySpec::Uniform { min: Ticks(20), max: Ticks(120) }
        );
        assert_eq!(
            read("delay = { kind = \"matrix\", file = \"a.csv\" }"),
            DelaySpec::Matrix { file: "a.csv".into(), jitter: 0.0 }
        );
        assert_eq!(
            read("[delay]\nkind = \"matrix\"\nfile = \"a.csv\"\njitter = 0.1"),
            DelaySpec::Matrix { file: "a.csv".into(), jitter: 0.1 }
        );
    }

    #[test]
    fn what_a_scenario_cannot_mean_is_refused_with_its_line() {
        for (delay, expected) in [
            ("{ kind = \"uniform\", min = \"3ms\", max = \"2ms\" }", "min = 3ms is above max = 2ms"),
            ("{ kind = \"matrix\", file = \"a.csv\", jitter = -0.1 }", "jitter = -0.1"),
            ("{ kind = \"matrix\", file = \"a.csv\", jitter = nan }", "jitter = NaN"),
            ("{ kind = \"constant\", value = \"5ms\", jitter = 1.0 }", "unknown field `jitter`"),
            ("{ kind = \"constant\" }", "missing field `value`"),
            ("{ kind = \"gauss\" }", "unknown variant `gauss`"),
            ("{ kind = \"constant\", value = \"5\" }", "no span of time"),
        ] {
            let error = spec(&format!("\ndelay = {delay}")).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(error.contains("line 2"), "{error}");
        }
        let file = PathBuf::from("none.csv");
        let error = Delay::load(&DelaySpec::Matrix { file, jitter: 0.0 }, Path::new("folder"), 1).unwrap_err();
        assert!(error.to_string().starts_with(&Path::new("folder").join("none.csv").display().to_string()), "{error}");
    }

    #[test]
    fn a_matrix_is_read_from_beside_the_scenario() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join("data");
        let spec = DelaySpec::Matrix { file: "latency-aws-33.csv".into(), jitter: 0.0 };
        let delay = Delay::load(&spec, &folder, 1).unwrap();
        assert_eq!(delay.places(), 33);
        let (paris, frankfurt) = (delay.place_for("eu-west-3").unwrap(), delay.place_for("eu-central-1").unwrap());
        assert_eq!(delay.one_way(paris, frankfurt, 1, 1), delay.matrix().unwrap().one_way(paris, frankfurt));
        assert_eq!(delay.place_for("atlantis"), None);
    }

    #[test]
    fn without_a_matrix_there_is_one_place_and_no_region() {
        let delay = Delay::load(&DelaySpec::Constant { value: Ticks(9) }, Path::new(""), 1).unwrap();
        assert_eq!((delay.places(), delay.place_for("eu-west-3")), (1, None));
        assert_eq!(delay.one_way(0, 0, 3, 4), Ticks(9));
    }

    #[test]
    fn no_message_takes_less_than_a_tick() {
        let zero = Delay::load(&DelaySpec::Constant { value: Ticks(0) }, Path::new(""), 1).unwrap();
        assert_eq!(zero.one_way(0, 0, 0, 0), Ticks(1));
        for (delay, most) in [(uniform(0, 0, 1), 1), (uniform(0, 2, 1), 2), (measured("0", 0.5, 1), 20)] {
            assert!((0..1_000).all(|n| (1..=most).contains(&delay.one_way(0, 0, n, n).0)));
        }
    }

    #[test]
    fn uniform_delays_reach_both_ends_evenly() {
        let delay = uniform(20, 29, 7);
        let mut counts = [0_u32; 10];
        for message in 0..MESSAGES {
            counts[delay.one_way(0, 0, message % 100, message / 100).0 as usize - 20] += 1;
        }
        // A tenth each; the standard deviation of a count is 134.
        assert!(counts.iter().all(|count| count.abs_diff(20_000) < 700), "{counts:?}");
        assert!((1..=u64::MAX).contains(&uniform(0, u64::MAX, 7).one_way(0, 0, 1, 2).0), "the widest range");
    }

    #[test]
    fn jitter_only_adds_and_has_the_mean_and_tail_it_says() {
        let delay = measured("2000", 0.1, 7);
        let delays: Vec<_> = (0..MESSAGES).map(|n| delay.one_way(0, 0, n % 1_000, n / 1_000).0).collect();
        assert!(delays.iter().all(|delay| *delay >= 1_000));
        let mean = mean(delays.iter().map(|delay| *delay as f64));
        assert!((mean - 1_100.0).abs() < 1.5, "{mean}");
        // A share of 1/e is later than the mean.
        let late = delays.iter().filter(|delay| **delay > 1_100).count() as f64 / MESSAGES as f64;
        assert!((late - 0.3679).abs() < 0.005, "{late}");
    }

    #[test]
    fn exponential_noise_is_the_logarithm_within_its_steps() {
        let exponential = Exponential::new();
        let noises = (0..64).flat_map(|bit| [1 << bit, u64::MAX >> bit, mix(bit), mix(bit) >> bit]).chain([0]);
        for noise in noises.filter(|noise| *noise == 0 || *noise > 1 << 20) {
            let exact = -libm::log((noise as f64 + 0.5) / 2_f64.powi(64));
            let found = exponential.of(noise);
            assert!(found > 0.0 && ((found - exact).abs() <= 1.0 / 1_024.0 || noise == 0), "{noise}: {found}, {exact}");
        }
        assert!(exponential.of(0) < 44.5);
    }

    #[test]
    fn losses_follow_the_rate_and_not_the_delay() {
        let delay = uniform(1, 1_000, 7);
        let lost: Vec<_> = (0..MESSAGES).filter(|n| delay.lost(0.05, *n, 3)).collect();
        assert!(lost.len().abs_diff(10_000) < 500, "{}", lost.len());
        let mean = mean(lost.iter().map(|n| delay.one_way(0, 0, *n, 3).0 as f64));
        assert!((mean - 500.5).abs() < 15.0, "{mean}");
        assert!((0..1_000).all(|n| delay.lost(1.0, n, n) && !delay.lost(0.0, n, n) && !delay.lost(f64::NAN, n, n)));
    }

    #[test]
    fn neighbouring_messages_senders_and_seeds_share_nothing() {
        let noise = |seed, sender, sequence| unit(noise(mix(seed), sender, sequence)) - 0.5;
        for (sender, sequence, seed) in [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1 << 32, 0, 0), (0, 1 << 32, 0)] {
            let product = |n: u64| {
                let (a, b) = (n % 500, n / 500);
                noise(5, a, b) * noise(5 + seed, a + sender, b + sequence)
            };
            let correlation = 12.0 * mean((0..MESSAGES).map(product));
            assert!(correlation.abs() < 0.012, "{correlation} for a step of {sender}, {sequence}, {seed}");
        }
    }

    /// Figures that must be the same on every machine and in every release; a change here changes every digest.
    #[test]
    fn the_draws_of_a_seed_never_change() {
        let (uniform, measured) = (uniform(1, 1_000_000, 42), measured("100000", 0.5, 42));
        let draws = |delay: &Delay| [0, 1, 2, 3].map(|n| delay.one_way(0, 0, n / 2, n % 2).0);
        assert_eq!(draws(&uniform), [781755, 532758, 855394, 685087]);
        assert_eq!(draws(&measured), [56156, 65744, 53917, 59456]);
        let lost: Vec<_> = (0..100).filter(|n| uniform.lost(0.1, 0, *n)).collect();
        assert_eq!(lost, [12, 26, 27, 28, 35, 70, 82, 90]);
    }
}
