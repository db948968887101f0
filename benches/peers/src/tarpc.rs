//! Measures tarpc over a UNIX socket: calls with deadlines, cancellation and tracing, on tokio.
//! Each process has a runtime of one thread.

use std::fs;
use std::future;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use coprocess_bench::Result;
use futures::StreamExt;
use futures::future::join_all;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tarpc::client;
use tarpc::context;
use tarpc::serde_transport::unix;
use tarpc::server::{BaseChannel, Channel};
use tokio::runtime::Runtime;
use tokio::time;

use crate::awaited::{self, AT_ONCE, runtime};
use crate::contender::{Contender, Side, Started};
use crate::item::{EPOCH, same};
use crate::names;
use crate::second::{self, Second, argument};

pub(crate) const SERVE: &str = "tarpc-serve";

/// Makes one call at a time.
pub(crate) const CALL: Contender = Contender {
    name: "tarpc, UNIX socket",
    note: "the server cannot call back; sleeps at each step",
    start: |_| {
        let connection = Connection::make()?;
        Ok(Started::new(connection.server.process(), move |count, timing| {
            timing.laps(count, |turn| same(connection.call(EPOCH + turn)?, EPOCH + turn))
        }))
    },
};

/// Joins [`AT_ONCE`] calls, since calls are sent when they are polled.
pub(crate) const IN_FLIGHT: Contender = Contender {
    name: "1,000 in flight: tarpc, UNIX socket",
    note: "the server cannot call back",
    start: |_| {
        let connection = Connection::make()?;
        Ok(Started::new(connection.server.process(), move |count, timing| {
            let connection = &connection; // as in `CALLS`
            timing.laps(count, |turn| {
                let (first, client) = (EPOCH + turn, &connection.client);
                let calls = async {
                    join_all(
                        (first..first + AT_ONCE)
                            .map(|value| client.echo(context::current(), value)),
                    )
                    .await
                };
                let answers = connection.runtime.block_on(calls);
                (first..).zip(answers).try_for_each(|(value, answer)| same(answer?, value))
            })
        }))
    },
};

/// Starts [`AT_ONCE`] tasks with a call each.
pub(crate) const CALLS: Contender = Contender {
    name: "1,000 tasks: tarpc, UNIX socket",
    note: "the server cannot call back",
    start: |_| {
        let connection = Connection::make()?;
        Ok(Started::new(connection.server.process(), move |count, timing| {
            let connection = &connection; // owned whole, so that the server lives as long
            timing.laps(count, |turn| {
                awaited::at_once(&connection.runtime, EPOCH + turn, |value| {
                    let client = connection.client.clone();
                    async move { client.echo(context::current(), value).await }
                })
            })
        }))
    },
};

/// Holds the client. Fields are dropped from the first to the last, so that the server sees the end
/// of the connection.
struct Connection {
    client: EchoClient,
    runtime: Runtime,
    server: Second,
}

impl Connection {
    fn make() -> Result<Connection> {
        let name = names::name("tarpc");
        let path = names::path(&name);
        let server = Second::start(SERVE, &[&name])?.ready()?;
        let runtime = runtime()?;
        let client = runtime.block_on(async {
            let transport = unix::connect(&path, || Postcard).await?;
            io::Result::Ok(EchoClient::new(client::Config::default(), transport).spawn())
        })?;
        fs::remove_file(&path)?; // both sides are connected
        Ok(Connection { client, runtime, server })
    }

    fn call(&self, value: u64) -> Result<u64> {
        Ok(self.runtime.block_on(self.client.echo(context::current(), value))?)
    }
}

pub(crate) fn serve(args: &[String]) -> Result<()> {
    let path = names::path(argument(args, 0, "name")?);
    runtime()?.block_on(async {
        let mut connections = unix::listen(&path, || Postcard).await?;
        second::ready()?;
        let connection = time::timeout(Duration::from_secs(10), connections.next())
            .await?
            .ok_or("no client connects")??;
        let requests = BaseChannel::with_defaults(connection).execute(Server.serve());
        requests
            .for_each(|response| {
                tokio::spawn(response);
                future::ready(())
            })
            .await;
        Ok(())
    })
}

#[tarpc::service]
trait Echo {
    async fn echo(value: u64) -> u64;
}

#[derive(Clone)]
struct Server;

impl Echo for Server {
    async fn echo(self, _: context::Context, value: u64) -> u64 {
        value
    }
}

/// Encodes with postcard, the codec of coprocess.
struct Postcard;

impl<T: Serialize> tokio_serde::Serializer<T> for Postcard {
    type Error = io::Error;

    fn serialize(self: Pin<&mut Self>, message: &T) -> io::Result<Bytes> {
        postcard::to_stdvec(message).map(Bytes::from).map_err(io::Error::other)
    }
}

impl<T: DeserializeOwned> tokio_serde::Deserializer<T> for Postcard {
    type Error = io::Error;

    fn deserialize(self: Pin<&mut Self>, bytes: &BytesMut) -> io::Result<T> {
        postcard::from_bytes(bytes).map_err(io::Error::other)
    }
}
