//! Each scenario on real nodes: TCP with TLS on the loopback, in real time.

lookup_tests::scenarios!(lookup_tests::loopback);
