//! A running cluster as the commands see it: its name server, its brokers, and questions to both.
//!
//! Owns the connections and the sentences about what cannot be reached or is refused. What is asked, and
//! how an answer is shown, is the commands' matter.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::DeserializeOwned;
use strata_protocol::body::{ClusterInfo, QueueData, TopicRoute, perm};
use strata_protocol::code::{ResponseCode, request};
use strata_protocol::command::Command;
use strata_protocol::json;
use strata_protocol::request::{Header, Route};
use strata_remoting::Client;

use crate::args::ClusterArgs;
use crate::exit::{Exit, Failure, OrFail, Outcome};

mod questions;

pub(crate) use questions::{queue_name, queue_of, queue_table};

/// A broker that is the master of its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Master {
    pub(crate) name: String,
    pub(crate) cluster: String,
    pub(crate) address: String,
}

/// A cluster that answers.
pub(crate) struct Cluster {
    namesrv: Client,
    namesrv_address: String,
    patience: Duration,
    brokers: BTreeMap<String, Client>,
}

impl Cluster {
    /// Connects to the first name server that takes the connection.
    pub(crate) async fn connect(args: &ClusterArgs) -> Outcome<Self> {
        let mut failures = Vec::new();
        for address in args.addresses() {
            match Client::connect(address, args.patience()).await {
                Ok(namesrv) => {
                    let (namesrv_address, patience) = (address.to_owned(), args.patience());
                    return Ok(Self { namesrv, namesrv_address, patience, brokers: BTreeMap::new() });
                }
                Err(error) => failures.push(error.to_string()),
            }
        }
        if failures.is_empty() {
            return Err(Failure::new(Exit::Usage, "--namesrv names no address; give host:port"));
        }
        let advice = "start one with: strata start, or name another with --namesrv HOST:PORT or NAMESRV_ADDR";
        let message = format!("no name server can be reached: {}; {advice}", failures.join("; "));
        Err(Failure::new(Exit::Unreachable, message))
    }

    /// Asks the name server; an answer other than success is a failure.
    pub(crate) async fn ask_namesrv(&self, request: Command) -> Outcome<Command> {
        let answer = self.namesrv.call(request, self.patience).await;
        let answer = answer.or_fail_with(Exit::Unreachable, format!("the name server {}", self.namesrv_address))?;
        success(answer, &format!("the name server {}", self.namesrv_address))
    }

    /// A connection to a broker, made once.
    pub(crate) async fn broker(&mut self, master: &Master) -> Outcome<Client> {
        if let Some(client) = self.brokers.get(&master.address).filter(|client| client.is_open()) {
            return Ok(client.clone());
        }
        let connected = Client::connect(&master.address, self.patience).await;
        let Master { name, address, .. } = master;
        let client = connected.map_err(|error| {
            let advice = "if it runs on another machine, start it with --host and an address that reaches it";
            Failure::new(
                Exit::Unreachable,
                format!("broker {name}, which registered as {address}, cannot be reached: {error}; {advice}"),
            )
        })?;
        self.brokers.insert(address.clone(), client.clone());
        Ok(client)
    }

    /// Asks a broker and gives its answer, whatever its code.
    pub(crate) async fn ask_any(&mut self, master: &Master, request: Command) -> Outcome<Command> {
        let client = self.broker(master).await?;
        let answer = client.call(request, self.patience).await;
        answer.or_fail_with(Exit::Unreachable, format!("broker {}", master.name))
    }

    /// Asks a broker; an answer other than success is a failure.
    pub(crate) async fn ask(&mut self, master: &Master, request: Command) -> Outcome<Command> {
        let answer = self.ask_any(master, request).await?;
        success(answer, &format!("broker {}", master.name))
    }

    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// Where a topic is; a missing one is a failure with [`Exit::NotFound`].
    pub(crate) async fn route(&self, topic: &str) -> Outcome<TopicRoute> {
        let missing =
            || Failure::new(Exit::NotFound, format!("there is no topic {topic}; list them with: strata topic list"));
        self.try_route(topic).await?.ok_or_else(missing)
    }

    /// Where a topic is, if it is.
    pub(crate) async fn try_route(&self, topic: &str) -> Outcome<Option<TopicRoute>> {
        let header = Route { topic: topic.to_owned(), strict_json: Some(true) };
        let answer = self.namesrv.call(command(request::GET_ROUTEINFO_BY_TOPIC, &header), self.patience).await;
        let answer = answer.or_fail_with(Exit::Unreachable, format!("the name server {}", self.namesrv_address))?;
        if answer.code == ResponseCode::TopicNotExist.wire() {
            return Ok(None);
        }
        document(&success(answer, "the name server")?).map(Some)
    }

    /// The masters of all brokers.
    pub(crate) async fn masters(&self) -> Outcome<Vec<Master>> {
        let info: ClusterInfo = document(&self.ask_namesrv(Command::request(request::GET_BROKER_CLUSTER_INFO)).await?)?;
        let masters: Vec<Master> = info.broker_addr_table.into_values().filter_map(master_of).collect();
        if masters.is_empty() {
            let message = format!("no broker has registered at {} yet", self.namesrv_address);
            return Err(Failure::new(Exit::NotFound, message));
        }
        Ok(masters)
    }
}

fn master_of(data: strata_protocol::body::BrokerData) -> Option<Master> {
    let address = data.broker_addrs.get(&0)?.clone();
    Some(Master { name: data.broker_name, cluster: data.cluster, address })
}

/// The masters of a route, with the topic's queues on each.
pub(crate) fn masters_of(route: TopicRoute) -> Vec<(Master, QueueData)> {
    let mut queues: BTreeMap<String, QueueData> =
        route.queue_datas.into_iter().map(|queues| (queues.broker_name.clone(), queues)).collect();
    let masters = route.broker_datas.into_iter().filter_map(master_of);
    masters.filter_map(|master| queues.remove(&master.name).map(|queues| (master, queues))).collect()
}

/// A permission as letters: `rw`, `r-`, `-w`.
pub(crate) fn show_perm(bits: i32) -> String {
    let letter = |bit, letter| if bits & bit != 0 { letter } else { '-' };
    [letter(perm::READ, 'r'), letter(perm::WRITE, 'w')].into_iter().collect()
}

/// A request with its header.
pub(crate) fn command(code: i32, header: &impl Header) -> Command {
    let mut command = Command::request(code);
    header.encode(&mut command.fields);
    command
}

/// Reads a body that must be there.
pub(crate) fn document<T: DeserializeOwned>(answer: &Command) -> Outcome<T> {
    json::from_unbounded(&answer.body).or_fail_with(Exit::Failed, "the server's answer cannot be read")
}

/// Reads the body of an answer about something that may not exist; `None` when it does not.
pub(crate) fn found<T: DeserializeOwned>(answer: Outcome<Command>) -> Outcome<Option<T>> {
    match answer {
        Ok(answer) => document(&answer).map(Some),
        Err(failure) if failure.exit == Exit::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Turns an answer other than success into a failure that tells it.
pub(crate) fn success(answer: Command, who: &str) -> Outcome<Command> {
    let code = ResponseCode::of(answer.code);
    if code == Some(ResponseCode::Success) {
        return Ok(answer);
    }
    let exit = match code {
        Some(
            ResponseCode::TopicNotExist
            | ResponseCode::QueryNotFound
            | ResponseCode::SubscriptionGroupNotExist
            | ResponseCode::SubscriptionNotExist
            | ResponseCode::ConsumerNotOnline,
        ) => Exit::NotFound,
        Some(_) | None => Exit::Refused,
    };
    let name = code.map_or_else(|| answer.code.to_string(), |code| format!("{code:?} ({})", answer.code));
    let remark = answer.remark.unwrap_or_else(|| String::from("no reason given"));
    Err(Failure::new(exit, format!("{who} answered {name}: {remark}")))
}

/// The answer to a send. A message that is stored but not yet confirmed by disk or replica is sent; the operator is told.
pub(crate) fn stored(mut answer: Command, broker: &str) -> Outcome<Command> {
    let code = ResponseCode::of(answer.code);
    if let Some(ResponseCode::FlushDiskTimeout | ResponseCode::FlushSlaveTimeout | ResponseCode::SlaveNotAvailable) =
        code
    {
        tracing::warn!(broker, ?code, "a message is stored, but its flush or replica was not confirmed in time");
        answer.code = ResponseCode::Success.wire();
    }
    success(answer, &format!("broker {broker}"))
}
