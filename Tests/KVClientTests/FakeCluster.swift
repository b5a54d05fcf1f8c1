import KVClient
import Sharding
import Synchronization

/// Nodes that answer as a cluster's do, each for its own shard only: a request that comes to a node of another
/// shard is counted as misrouted, and refused.
///
/// Shard i has `nodesPerShard` nodes, the first of which leads; all of them have the same data at once.
final class FakeCluster: Sendable {
  struct State: Sendable {
    var map: ShardMap?
    var json = ""
    /// What every node answers when it is asked for the configuration, in place of it.
    var otherJSON: String?
    /// By shard: which of its nodes leads, in which epoch; nil when nobody does.
    var leaders: [(node: Int, epoch: UInt64)?]
    var values: [String: (value: String, version: UInt64, etag: String)] = [:]
    var last: UInt64 = 0
    var misrouted: [String] = []
    /// Answers in place of the node's own: by its address, for requests of data.
    var overrides: [NodeAddress: @Sendable (FakeServer.Request) -> FakeServer.Answer?] = [:]
  }

  /// By shard.
  let nodes: [[FakeServer]]
  private let shared: Shared

  private final class Shared: Sendable {
    let state: Mutex<State>
    let addresses = Mutex<[[NodeAddress]]>([])
    init(_ state: State) { self.state = Mutex(state) }
  }

  init(shards: Int = 1, nodesPerShard: Int = 3, isConfigured: Bool = true) async throws {
    let shared = Shared(
      State(leaders: (0..<shards).map { _ in (node: 0, epoch: 1) }))
    self.shared = shared
    var nodes: [[FakeServer]] = []
    for shard in 0..<shards {
      var list: [FakeServer] = []
      for node in 0..<nodesPerShard {
        list.append(try await FakeServer { Self.answer($0, shard, node, shared) })
      }
      nodes.append(list)
    }
    self.nodes = nodes
    let addresses = nodes.map { $0.map(\.address) }
    shared.addresses.withLock { $0 = addresses }
    if isConfigured { try configure(version: 1, addresses) }
  }

  var addresses: [[NodeAddress]] { shared.addresses.withLock { $0 } }
  var misrouted: [String] { shared.state.withLock { $0.misrouted } }
  func change<R: Sendable>(_ body: (inout State) -> R) -> R { shared.state.withLock { body(&$0) } }

  /// Has that node lead its shard, in the next epoch; nil: nobody.
  func promote(_ node: Int?, shard: Int = 0) {
    shared.state.withLock { state in
      let epoch = state.leaders[shard]?.epoch ?? 1
      state.leaders[shard] = node.map { (node: $0, epoch: epoch + 1) }
    }
  }

  func configure(version: Int, _ shards: [[NodeAddress]]) throws {
    let entries = shards.enumerated().map { index, nodes in
      let replicas = nodes.dropFirst().map { "\"\($0)\"" }.joined(separator: ",")
      return
        "{\"name\":\"s\(index)\",\"index\":\(index),\"leader\":\"\(nodes[0])\",\"replicas\":[\(replicas)]}"
    }
    let json = "{\"version\":\(version),\"shards\":[\(entries.joined(separator: ","))]}"
    let map = try ShardMap(json: Array(json.utf8), file: "fake")
    shared.state.withLock { ($0.map, $0.json) = (map, json) }
  }

  func stop() async throws {
    for node in nodes.joined() { try await node.stop() }
  }

  // MARK: - A node's answers

  private static func answer(
    _ request: FakeServer.Request, _ shard: Int, _ node: Int, _ shared: Shared
  ) -> FakeServer.Answer {
    let addresses = shared.addresses.withLock { $0 }
    return shared.state.withLock { state in
      if request.path == "/admin/config" {
        if let other = state.otherJSON { return .init(body: other) }
        guard let map = state.map else { return .init(status: 404) }
        if let above = request.value("above").flatMap({ Int($0) }), above >= map.version {
          return .init(status: 204)
        }
        return .init(headers: [("X-KV-Config-Version", "\(map.version)")], body: state.json)
      }
      let own = addresses[shard][node]
      if let answer = state.overrides[own]?(request) { return answer }
      if request.path == "/status" {
        return .init(body: status(shard, node, addresses, state))
      }
      return data(request, shard, node, addresses, &state)
    }
  }

  private static func status(
    _ shard: Int, _ node: Int, _ addresses: [[NodeAddress]], _ state: State
  ) -> String {
    let leader = state.leaders[shard]
    let leads = leader?.node == node
    var text = "{\"role\":\"\(leads ? "leader" : "replica")\",\"epoch\":\(leader?.epoch ?? 1),"
    text += "\"epoch_node\":\"00000000000000aa\","
    let count = state.map?.shards.count ?? 1
    text += "\"shard\":{\"name\":\"s\",\"index\":\(shard),\"count\":\(count)}"
    if !leads, let leader {
      text += ",\"leader\":{\"address\":\"\(addresses[shard][leader.node])\"}"
    }
    let replicas = addresses[shard].map { "{\"id\":\"r\",\"address\":\"\($0)\"}" }
    text += ",\"replicas\":[\(leads ? replicas.joined(separator: ",") : "")]}"
    return text
  }

  private static func data(
    _ request: FakeServer.Request, _ shard: Int, _ node: Int, _ addresses: [[NodeAddress]],
    _ state: inout State
  ) -> FakeServer.Answer {
    let leads = state.leaders[shard]?.node == node
    var keys = request.query.filter { $0.name == "key" }.map(\.value)
    if request.path.hasPrefix("/kv/") { keys = [String(request.path.dropFirst(4))] }
    for key in keys {
      let right = state.map.map { map in Array(key.utf8).withUnsafeBytes { map.shard(of: $0) } }
      guard right ?? 0 == shard else {
        state.misrouted.append(key)
        return .init(status: 500, body: "misrouted")
      }
    }
    let isWrite = request.method != "GET"
    if isWrite, !leads { return .init(status: 403, body: #"{"error":"read-only mode"}"#) }
    if !isWrite, !leads, request.headers.contains(name: "X-KV-Read-From") {
      let leader = state.leaders[shard].map { addresses[shard][$0.node] }
      return .init(status: 421, headers: leader.map { [("X-KV-Leader", "\($0)")] } ?? [])
    }
    switch (request.method, request.path) {
    case ("GET", "/kv") where !keys.isEmpty: return .init(body: lines(keys, state))
    case ("GET", "/kv"): return page(request, shard, state)
    case ("POST", "/batch"): return written(&state, shard, 200)
    case ("PUT", _):
      let answer = written(&state, shard, state.values[keys[0]] == nil ? 201 : 200)
      state.values[keys[0]] = (request.body, state.last, answer.headers[1].1)
      return answer
    case ("DELETE", _):
      guard state.values.removeValue(forKey: keys[0]) != nil else { return .init(status: 404) }
      var answer = written(&state, shard, 204)
      answer.body = ""
      return answer
    default:
      guard let found = state.values[keys[0]] else { return .init(status: 404) }
      return .init(
        headers: [("X-KV-Version", "\(found.version)"), ("ETag", found.etag)], body: found.value)
    }
  }

  private static func written(
    _ state: inout State, _ shard: Int, _ status: Int
  ) -> FakeServer.Answer {
    state.last += 1
    let epoch = state.leaders[shard]?.epoch ?? 1
    return .init(
      status: status,
      headers: [
        ("X-KV-Version", "\(state.last)"), ("ETag", "\"\(state.last).\(epoch)-00000000000000aa\""),
      ])
  }

  private static func lines(_ keys: [String], _ state: State) -> String {
    keys.map { key in
      guard let found = state.values[key] else {
        return "{\"error\":\"key not found\",\"key\":\"\(key)\"}\n"
      }
      return "{\"key\":\"\(key)\",\"value\":\"\(found.value)\",\"version\":\(found.version)}\n"
    }.joined()
  }

  private static func page(
    _ request: FakeServer.Request, _ shard: Int, _ state: State
  ) -> FakeServer.Answer {
    let limit = request.value("limit").flatMap { Int($0) } ?? 1_000
    let after = request.value("after") ?? ""
    let keys = state.values.keys.filter { key in
      let right = state.map.map { map in Array(key.utf8).withUnsafeBytes { map.shard(of: $0) } }
      return right ?? 0 == shard && key > after
    }.sorted()
    let shown = keys.prefix(limit)
    let body = shown.map { key in
      "{\"key\":\"\(key)\",\"version\":\(state.values[key]!.version),\"size\":1}\n"
    }.joined()
    let next = keys.count > limit ? [("X-KV-Next", shown.last!)] : []
    return .init(headers: next, body: body)
  }
}
