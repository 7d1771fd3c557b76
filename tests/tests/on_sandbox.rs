//! Each scenario in the sandbox, in virtual time.

lookup_tests::scenarios!(lookup_tests::sandbox);
