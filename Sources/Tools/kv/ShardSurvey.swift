import Client

/// The nodes of a shard: what each says of itself, and what their leader says of them.
struct ShardSurvey: Sendable {
  struct Node: Sendable {
    /// Nil when the leader knows the name alone.
    var address: NodeAddress?
    var id: String
    /// Leads, or takes writes as every node of a leaderless shard does.
    var isLeader: Bool
    /// Of the node in its leader's list.
    var row: JSONValue?
    /// What it answered.
    var status: JSONValue?
    /// Why it did not answer.
    var error: String?
  }

  private static let nodesMax = 256

  private(set) var nodes: [Node] = []
  private(set) var isLeaderless = false

  /// - Parameters:
  ///   - asked: the node that answered `status`.
  ///   - ask: asks another one.
  /// - Returns: nil when that is a node alone.
  static func take(
    _ asked: NodeAddress, _ status: JSONValue,
    ask: @escaping @Sendable (NodeAddress) async -> Result<JSONValue, KVClientError>
  ) async -> ShardSurvey? {
    let leader = status["leader"]?["address"]?.string
    guard leader != nil || !(status["replicas"]?.elements ?? []).isEmpty else { return nil }
    var survey = ShardSurvey()
    var lead = Node(address: asked, id: "\(asked)", isLeader: true, status: status)
    if let leader, let address = try? NodeAddress(parsing: leader), address != asked {
      lead = Node(address: address, id: leader, isLeader: true)
      lead.hear(await ask(address))
    }
    survey.nodes.append(lead)
    for row in (lead.status ?? status)["replicas"]?.elements.prefix(Self.nodesMax) ?? [] {
      survey.add(row)
    }
    survey.add(asked, status)
    await survey.askRest(ask)
    if status["role"]?.string == "leaderless" { survey.isLeaderless = true }
    return survey
  }

  /// Of the nodes of a leaderless shard: what one of them has and this one lacks, of all logs together.
  func lackedRecords(of node: Node) -> UInt64? {
    guard let own = node.status?.positions else { return nil }
    var furthest = own
    for other in nodes {
      furthest.merge(other.status?.positions ?? [:]) { max($0, $1) }
    }
    return furthest.reduce(0) { $0 &+ ($1.value - (own[$1.key] ?? 0)) }
  }

  /// A row of the leader's list.
  private mutating func add(_ row: JSONValue) {
    let address = row["address"]?.string.flatMap { try? NodeAddress(parsing: $0) }
    let id = row["id"]?.string ?? address.map { "\($0)" } ?? "?"
    if let address, nodes.contains(where: { $0.address == address }) { return }
    nodes.append(Node(address: address, id: id, isLeader: false, row: row))
  }

  /// The node that was asked first.
  private mutating func add(_ address: NodeAddress, _ status: JSONValue) {
    let id = status["node"]?.string
    if let index = nodes.firstIndex(where: { $0.address == address || $0.id == id }) {
      nodes[index].status = status
    } else {
      nodes.append(
        Node(address: address, id: id ?? "\(address)", isLeader: false, status: status))
    }
  }

  /// All at once.
  private mutating func askRest(
    _ ask: @escaping @Sendable (NodeAddress) async -> Result<JSONValue, KVClientError>
  ) async {
    await withTaskGroup(of: (Int, Result<JSONValue, KVClientError>).self) { group in
      for (index, node) in nodes.enumerated() where node.status == nil && node.error == nil {
        guard let address = node.address else { continue }
        group.addTask { (index, await ask(address)) }
      }
      for await (index, answer) in group { nodes[index].hear(answer) }
    }
  }
}

extension ShardSurvey.Node {
  fileprivate mutating func hear(_ answer: Result<JSONValue, KVClientError>) {
    switch answer {
    case .success(let status): self.status = status
    case .failure(let error): self.error = error.description
    }
  }

  var role: String { status?["role"]?.string ?? (isLeader ? "leader" : "replica") }

  /// `ready` for a leader, and for every node of a leaderless shard; a replica's is what its leader says;
  /// `unreachable` for who does not answer.
  var state: String {
    if error != nil { return "unreachable" }
    if isLeader || role == "leaderless" { return "ready" }
    return row?["state"]?.string ?? "unknown"
  }
}

extension JSONValue {
  /// Of a leaderless shard's node: how far it has each log.
  fileprivate var positions: [String: UInt64]? {
    guard case .object(let origins) = self["origins"] else { return nil }
    return origins.compactMapValues { if case .unsigned(let number) = $0 { number } else { nil } }
  }
}
