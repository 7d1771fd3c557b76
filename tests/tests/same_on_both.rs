//! Where nothing goes wrong, sandbox and sockets agree on answers and on round trips.

use lookup_tests::scenarios::calm_lookups;
use lookup_tests::{loopback, sandbox};

#[test]
fn answers_and_round_trips_are_the_same_in_the_sandbox_and_on_sockets() {
    let simulated = calm_lookups(&mut sandbox(11));
    let real = calm_lookups(&mut loopback(11));
    for (simulated, real) in simulated.iter().zip(&real) {
        assert!(simulated.is_all_right() && real.is_all_right(), "{simulated:?} {real:?}");
        for percent in [50, 99] {
            assert_eq!(simulated.round_trips_of(percent), real.round_trips_of(percent), "p{percent}");
        }
    }
    assert_eq!((real[0].round_trips_of(50), real[0].round_trips_of(99)), (Some(1), Some(1)));
}
