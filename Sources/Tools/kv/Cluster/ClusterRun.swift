import ArgumentParser
import Terminal

/// A cluster from its start to the end of its last process.
struct ClusterRun {
  /// Longer than a node takes to end what is in progress.
  private static let patience = Duration.seconds(15)

  let nodes: [ClusterNode]
  let supervisors: [NodeSupervisor]
  let configFile: String
  let events: AsyncStream<ClusterEvent>.Continuation

  /// What is known of the nodes.
  private struct State {
    /// Those that have taken requests.
    var listening: Set<Int> = []
    /// Those that nothing comes of any more.
    var over: Set<Int> = []
    var isStopping = false
    /// Why not all is well.
    var failure: String?
  }

  /// - Throws: what ends the command with exit code 1, when a node ended that was not told to.
  func run(_ stream: AsyncStream<ClusterEvent>) async throws {
    var state = State()
    for supervisor in supervisors { supervisor.start() }
    for await event in stream {
      handle(event, &state)
      if state.over.count == nodes.count { break }
    }
    if let failure = state.failure { throw Output.failure(failure) }
  }

  private func handle(_ event: ClusterEvent, _ state: inout State) {
    switch (event.kind, event.index) {
    case (.listens, .some(let index)):
      let wereAll = state.listening.count == nodes.count
      state.listening.insert(index)
      if !wereAll, state.listening.count == nodes.count, !state.isStopping { welcome() }
    case (.died(let words), .some(let index)):
      let name = "\(nodes[index].name) at \(nodes[index].address)"
      if state.listening.count < nodes.count {
        fail("\(name) did not start: \(words). The lines above say why", &state)
      } else {
        Say.error("\(name) has ended: \(words)")
      }
    case (.isOver, .some(let index)):
      state.over.insert(index)
      if state.over.count == nodes.count, !state.isStopping, state.failure == nil {
        state.failure = "no node runs any more"
      }
    case (.signal, _):
      if state.isStopping {
        for supervisor in supervisors { supervisor.kill() }
      } else {
        stop(&state)
      }
    case (.patienceEnded, _):
      Say.error("some nodes take too long to stop, and are killed: nothing acknowledged is lost")
      for supervisor in supervisors { supervisor.kill() }
    default:
      break
    }
  }

  private func fail(_ message: String, _ state: inout State) {
    // The first one is the reason for the others.
    guard !state.isStopping else { return }
    state.failure = message
    stop(&state)
  }

  private func stop(_ state: inout State) {
    state.isStopping = true
    Say.error("stopping \(nodes.count == 1 ? "the node" : "\(nodes.count) nodes")")
    for supervisor in supervisors { supervisor.stop() }
    let events = events
    Task {
      try await Task.sleep(for: Self.patience)
      events.yield(ClusterEvent(index: nil, kind: .patienceEnded))
    }
  }

  /// That standard output cannot be written to is no reason to stop.
  private func welcome() {
    let rows = nodes.map { [$0.shard, $0.role, $0.address, $0.dataDirectory] }
    let table = ShardMapText.table([["shard", "role", "address", "data"]] + rows)
    let (first, last) = (nodes[0].address, nodes[nodes.count - 1].address)
    _ = Say.result(
      "\n\(table)\n  try: curl 'http://\(first)/set?key=party&value=Great'; "
        + "curl 'http://\(last)/get?key=party'\n")
  }
}
