//! Tests of the ring over heap memory and over a real segment.
