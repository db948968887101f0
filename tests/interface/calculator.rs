//! A calculator, whose interface has a method of every shape.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use coprocess::Coprocess;
use serde::{Deserialize, Serialize};

use crate::common;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Point {
    pub(crate) x: f64,
    pub(crate) y: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum NoQuotient {
    ByZero { dividend: i64 },
    Overflow,
}

/// Arithmetic, and one method of every shape.
#[coprocess::interface]
pub(crate) trait Calculator {
    /// Adds.
    fn add(&self, a: i64, b: i64) -> i64;
    fn divide(&self, a: i64, b: i64) -> Result<i64, NoQuotient>;
    fn nothing(&self);
    fn words(&self, text: &str) -> Vec<String>;
    fn sum_of_bytes(&self, bytes: &[u8]) -> u64;
    fn middle(&self, points: &[Point]) -> Option<Point>;
    fn mirror(&self, point: &Point, across: (f64, f64)) -> Point;
    fn count(&self, tables: BTreeMap<String, Vec<u32>>, names: Vec<String>, limit: usize) -> usize;
    fn r#type(&self, r#in: u8) -> u8;
    // Names that the code of the macro itself might use.
    fn shadows(&self, server: u8, on: u8, through: u8, co: u8, argument_0: u8) -> [u8; 5];
    fn panics(&self, why: String);
    fn noted(&self) -> Vec<String>;
    #[event]
    fn note(&self, text: &str, times: u32);
    #[event]
    fn forget(&self);
    #[cfg(not(test))]
    fn not_here(&self, of: NoSuchType) -> NoSuchType;
    #[cfg(test)]
    fn here(&self) -> bool;
    #[cfg_attr(test, cfg(not(test)), deprecated)]
    fn not_here_either(&self, of: NoSuchType) -> NoSuchType;
}

#[derive(Debug, Default)]
pub(crate) struct Plain {
    notes: Mutex<Vec<String>>,
    pub(crate) calls: AtomicU64,
}

impl Calculator for Plain {
    fn add(&self, a: i64, b: i64) -> i64 {
        self.calls.fetch_add(1, Ordering::Relaxed);
        a + b
    }

    fn divide(&self, a: i64, b: i64) -> Result<i64, NoQuotient> {
        if b == 0 {
            Err(NoQuotient::ByZero { dividend: a })
        } else {
            a.checked_div(b).ok_or(NoQuotient::Overflow)
        }
    }

    fn nothing(&self) {}

    fn words(&self, text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn sum_of_bytes(&self, bytes: &[u8]) -> u64 {
        bytes.iter().map(|byte| u64::from(*byte)).sum()
    }

    fn middle(&self, points: &[Point]) -> Option<Point> {
        points.get(points.len() / 2).cloned()
    }

    fn mirror(&self, point: &Point, across: (f64, f64)) -> Point {
        Point { x: 2.0 * across.0 - point.x, y: 2.0 * across.1 - point.y }
    }

    fn count(&self, tables: BTreeMap<String, Vec<u32>>, names: Vec<String>, limit: usize) -> usize {
        names.iter().filter_map(|name| tables.get(name)).map(Vec::len).sum::<usize>().min(limit)
    }

    fn r#type(&self, r#in: u8) -> u8 {
        r#in + 1
    }

    fn shadows(&self, server: u8, on: u8, through: u8, co: u8, argument_0: u8) -> [u8; 5] {
        [server, on, through, co, argument_0]
    }

    fn panics(&self, why: String) {
        panic!("{why}");
    }

    fn noted(&self) -> Vec<String> {
        self.notes.lock().unwrap().clone()
    }

    fn note(&self, text: &str, times: u32) {
        self.notes.lock().unwrap().extend((0..times).map(|_| text.to_owned()));
    }

    fn forget(&self) {
        self.notes.lock().unwrap().clear();
    }

    fn here(&self) -> bool {
        true
    }
}

pub(crate) fn calculator() -> (Coprocess, CalculatorClient) {
    let co = common::patient().fork(|parent| Plain::default().serve(&parent)).unwrap();
    let client = CalculatorClient::new(&co).unwrap();
    (co, client)
}
