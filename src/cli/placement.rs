//! How many workers run where.

use super::Refusal;
use super::arguments::PlacementOptions;

/// Workers and processes, agreed with each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placement {
    /// In each process; the same in all.
    pub(super) workers: usize,
    /// `host:port` of every process, in their order; one process alone has none.
    pub(super) hosts: Vec<String>,
    /// This process.
    pub(super) index: usize,
}

/// The port of the first process where no hosts are named; the others follow.
const FIRST_PORT: usize = 2101;

impl Placement {
    /// One process.
    pub(super) fn alone(workers: Option<u16>, configured: Option<usize>) -> Placement {
        let default = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = workers.map(usize::from).or(configured).unwrap_or(default);
        Placement { workers, hosts: Vec::new(), index: 0 }
    }

    /// `configured` is `pipeline.workers`.
    pub(super) fn read(options: &PlacementOptions, configured: Option<usize>) -> Result<Placement, Refusal> {
        let (processes, index) = (usize::from(options.processes), usize::from(options.process));
        if index >= processes {
            let last = processes - 1;
            return Err(Refusal::new(format!("-p {index} is not one of {processes} processes; they are 0 to {last}")));
        }
        let hosts = match &options.hosts {
            Some(file) => {
                let text = std::fs::read_to_string(file).map_err(|error| {
                    Refusal::new(format!("the file of hosts `{}` cannot be read: {error}", file.display()))
                })?;
                hosts(&text, processes).map_err(|fault| Refusal::new(format!("{}: {fault}", file.display())))?
            }
            None if processes == 1 => Vec::new(),
            None => (0..processes).map(|index| format!("localhost:{}", FIRST_PORT + index)).collect(),
        };
        // Machines of a cluster may differ in cores, but all must have the same number of workers.
        let default = if processes > 1 { 1 } else { std::thread::available_parallelism().map_or(1, usize::from) };
        let workers = options.workers.map(usize::from).or(configured).unwrap_or(default);
        Ok(Placement { workers, hosts, index })
    }
}

fn hosts(text: &str, processes: usize) -> Result<Vec<String>, String> {
    let lines = text.lines().map(str::trim).enumerate();
    let hosts: Vec<(usize, &str)> = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).collect();
    let has_port = |host: &str| match host.rsplit_once(':') {
        Some((name, port)) => !name.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0),
        None => false,
    };
    if let Some((line, host)) = hosts.iter().find(|(_, host)| !has_port(host)) {
        return Err(format!("line {}: `{host}` is not host:port", line + 1));
    }
    if hosts.len() != processes {
        return Err(format!(
            "it names {} hosts for {processes} processes (-n); write one host:port a line",
            hosts.len()
        ));
    }
    Ok(hosts.into_iter().map(|(_, host)| host.to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_hosts_file_is_a_process() {
        assert_eq!(hosts("# two\na:2101\n\n b:2102 \n", 2), Ok(vec!["a:2101".to_owned(), "b:2102".to_owned()]));
        assert!(hosts("a:2101\n", 2).is_err_and(|fault| fault.contains("1 hosts for 2")));
        assert!(hosts("a:2101\nb\n", 2).is_err_and(|fault| fault.starts_with("line 2")));
    }

    #[test]
    fn a_process_beyond_the_last_is_refused() {
        let options = PlacementOptions { workers: Some(2), processes: 2, process: 2, hosts: None };
        assert!(Placement::read(&options, None).is_err_and(|refusal| refusal.0.contains("they are 0 to 1")));
        let placed = Placement::read(&PlacementOptions { process: 1, ..options }, Some(8));
        let hosts = vec!["localhost:2101".to_owned(), "localhost:2102".to_owned()];
        assert_eq!(placed.ok(), Some(Placement { workers: 2, hosts, index: 1 }));
    }
}
