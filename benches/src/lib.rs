//! What the benchmark driver knows that needs no machine to run on.
