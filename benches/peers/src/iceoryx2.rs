//! Measures iceoryx2: named services over shared memory. As in its own benchmarks, both sides poll,
//! and payloads are written in place.

use std::fmt::Debug;
use std::hint::black_box;
use std::mem::MaybeUninit;

use coprocess_bench::Result;
use iceoryx2::node::Node;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;
use iceoryx2::sample_mut_uninit::SampleMutUninit;
use iceoryx2::service::port_factory::{publish_subscribe, request_response};

use crate::contender::{Contender, Started};
use crate::item::{EPOCH, ITEMS, Item, item, same};
use crate::look::look_for;
use crate::names;
use crate::second::{self, Second, argument};

pub(crate) const ANSWER_CALLS: &str = "iceoryx2-answer-calls";
pub(crate) const ANSWER_SAMPLES: &str = "iceoryx2-answer-samples";
pub(crate) const SWALLOW: &str = "iceoryx2-swallow";

/// Sends a request and waits for the response.
pub(crate) const CALLS: Contender = Contender {
    name: "iceoryx2 request-response",
    note: "both sides poll: it has no call to wait in; no methods, no codec (plain memory only)",
    start: |_| {
        let run = names::name("iceoryx2-calls");
        let client = calls(&node(&run)?)?.client_builder().create()?;
        let server = Second::start(ANSWER_CALLS, &[&run])?.ready()?;
        let mut next = None;
        Ok(Started::round_trip(server, move |turn| {
            let request = next.take().map_or_else(|| client.loan_uninit(), Ok)?;
            let pending = request.write_payload(EPOCH + turn).send()?;
            next = Some(client.loan_uninit()?); // meanwhile, as its benchmarks do
            let response = look_for("response of iceoryx2", || Ok(pending.receive()?))?;
            same(*response, EPOCH + turn)
        }))
    },
};

/// Sends a sample on one topic, and waits for the answer on another.
pub(crate) const PING_PONG: Contender = Contender {
    name: "iceoryx2 publish-subscribe, two topics",
    note: "both sides poll; nothing ties an answer to its question; no methods, \
           no codec (plain memory only)",
    start: |_| {
        let run = names::name("iceoryx2-samples");
        let node = node(&run)?;
        let publisher = publisher(&topic::<u64>(&node, "there", 1)?)?;
        let subscriber = topic::<u64>(&node, "back", 1)?.subscriber_builder().create()?;
        let other = Second::start(ANSWER_SAMPLES, &[&run])?.ready()?;
        let mut next = None;
        Ok(Started::round_trip(other, move |turn| {
            let sample = next.take().map_or_else(|| publisher.loan_uninit(), Ok)?;
            publish(sample, EPOCH + turn)?;
            next = Some(publisher.loan_uninit()?); // meanwhile, as its benchmarks do
            same(receive(&subscriber)?, EPOCH + turn)
        }))
    },
};

/// Sends samples one way.
pub(crate) const STREAM: Contender = Contender {
    name: "iceoryx2 publish-subscribe, 64 B",
    note: "the subscriber polls, the publisher retries while there is no space; \
           no codec (plain memory only)",
    start: |_| {
        let run = names::name("iceoryx2-stream");
        let publisher = publisher(&topic::<Item>(&node(&run)?, "items", ITEMS)?)?;
        let subscriber = Second::start(SWALLOW, &[&run])?.ready()?;
        Ok(Started::stream(subscriber, move |turn, _| {
            publish(publisher.loan_uninit()?, item(turn))
        }))
    },
};

pub(crate) fn answer_calls(args: &[String]) -> Result<()> {
    let server = calls(&node(argument(args, 0, "run")?)?)?.server_builder().create()?;
    second::obey(|count| {
        for _ in 0..count {
            let request = look_for("request of iceoryx2", || Ok(server.receive()?))?;
            request.loan_uninit()?.write_payload(*request).send()?;
        }
        Ok(count)
    })
}

pub(crate) fn answer_samples(args: &[String]) -> Result<()> {
    let node = node(argument(args, 0, "run")?)?;
    let subscriber = topic::<u64>(&node, "there", 1)?.subscriber_builder().create()?;
    let publisher = publisher(&topic::<u64>(&node, "back", 1)?)?;
    second::obey(|count| {
        for _ in 0..count {
            let sample = publisher.loan_uninit()?;
            publish(sample, receive(&subscriber)?)?;
        }
        Ok(count)
    })
}

pub(crate) fn swallow(args: &[String]) -> Result<()> {
    let subscriber = topic::<Item>(&node(argument(args, 0, "run")?)?, "items", ITEMS)?
        .subscriber_builder()
        .create()?;
    second::obey(|count| {
        let mut sum = 0;
        for _ in 0..count {
            sum += black_box(receive(&subscriber)?)[0];
        }
        Ok(sum)
    })
}

/// Makes a participant. Both sides keep everything under the name of the run, so that leftovers can
/// be found afterwards.
fn node(run: &str) -> Result<Node<ipc::Service>> {
    set_log_level(LogLevel::Error);
    let mut config = Config::default();
    config.global.prefix = FileName::new(format!("{run}-").as_bytes())?;
    config.global.set_root_path(&Path::new(names::path(run).as_os_str().as_encoded_bytes())?);
    Ok(NodeBuilder::new()
        .config(&config)
        .signal_handling_mode(SignalHandlingMode::Disabled)
        .create()?)
}

/// Opens a service of one client and one server, with one request at a time.
fn calls(
    node: &Node<ipc::Service>,
) -> Result<request_response::PortFactory<ipc::Service, u64, (), u64, ()>> {
    let service = node.service_builder(&ServiceName::new("calls")?).request_response::<u64, u64>();
    let service = service
        .max_clients(1)
        .max_servers(1)
        .max_nodes(2)
        .max_active_requests_per_client(1)
        .max_response_buffer_size(1);
    Ok(service.open_or_create()?)
}

type Topic<T> = publish_subscribe::PortFactory<ipc::Service, T, ()>;

/// Opens a service of one publisher and one subscriber, with a buffer that is never overwritten.
fn topic<T: ZeroCopySend + Debug>(
    node: &Node<ipc::Service>,
    name: &str,
    buffer: usize,
) -> Result<Topic<T>> {
    let service = node.service_builder(&ServiceName::new(name)?).publish_subscribe::<T>();
    let service = service.max_publishers(1).max_subscribers(1).max_nodes(2);
    Ok(service
        .history_size(0)
        .enable_safe_overflow(false)
        .subscriber_max_buffer_size(buffer)
        .open_or_create()?)
}

/// Makes a publisher that waits for space, so that no sample is dropped.
fn publisher<T: ZeroCopySend + Debug>(topic: &Topic<T>) -> Result<Publisher<ipc::Service, T, ()>> {
    Ok(topic
        .publisher_builder()
        .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
        .create()?)
}

fn publish<T: ZeroCopySend + Debug>(
    sample: SampleMutUninit<ipc::Service, MaybeUninit<T>, ()>,
    value: T,
) -> Result<()> {
    match sample.write_payload(value).send()? {
        1 => Ok(()),
        reached => Err(format!("a sample reached {reached} subscribers").into()),
    }
}

fn receive<T: ZeroCopySend + Debug + Copy>(
    subscriber: &Subscriber<ipc::Service, T, ()>,
) -> Result<T> {
    Ok(*look_for("sample of iceoryx2", || Ok(subscriber.receive()?))?)
}
