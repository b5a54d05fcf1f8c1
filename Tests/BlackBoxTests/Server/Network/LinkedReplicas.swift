import Foundation
import Testing

/// A leader, and replicas each of which reaches it over a link of its own.
struct LinkedReplicas: Sendable {
  let set: ReplicaSet
  let links: [FaultyLink]
  let leader: ServedNode
  /// Started in turn.
  private(set) var replicas: [ServedNode] = []

  /// Starts the leader.
  init(_ count: Int, flags: [String] = []) async throws {
    var set = try ReplicaSet(in: try TemporaryDirectory(), replicas: count, flags: flags)
    var links: [FaultyLink] = []
    for number in 1...count {
      let link = try FaultyLink(to: set.settings[0].address)
      set.follow(number, link.address)
      links.append(link)
    }
    self.set = set
    self.links = links
    leader = try await set.start(0)
  }

  mutating func startReplicas() async throws {
    for number in 1..<set.settings.count { replicas.append(try await set.start(number)) }
  }

  /// Writes that many records with distinct values, and expects that each is acknowledged.
  static func write(
    _ count: Int, to node: ServedNode, from first: Int = 0, valueBytes: Int = 300
  ) async throws {
    let statuses = try await Threads.runOne {
      let connection = try node.connect()
      return try (first..<first + count).map { number in
        try connection.put(
          "key-\(number % 97)", "\(number)." + String(repeating: "v", count: valueBytes)
        ).status
      }
    }
    #expect(statuses.allSatisfy { $0 == 200 || $0 == 201 })
  }

  /// Expects the same state everywhere, then ends all nodes and expects the same logs.
  func expectEqualInTheEnd() async throws {
    try await ReplicaSet.catchUp(leader, replicas, seconds: 60)
    try await ReplicaSet.expectEqual([leader] + replicas, "in the end")
    // The last mark of a quiet log, too.
    try await Task.sleep(for: .milliseconds(300))
    try await leader.stop()
    try await Task.sleep(for: .milliseconds(300))
    for replica in replicas { try await replica.stop() }
    for link in links { link.close() }
    try await set.expectEqualLogs()
  }
}

extension ReplicaSet {
  /// Has a replica follow the node at another address than its leader's.
  mutating func follow(_ number: Int, _ address: LoopbackAddress) {
    settings[number].flags += ["--follow", "\(address)"]
  }

  /// How a replica stands to whom it follows.
  static func following(_ replica: ServedNode) throws -> [String: Any] {
    try status(replica)["leader"] as? [String: Any] ?? [:]
  }

  /// A replica in its leader's list.
  static func row(of replica: String, on leader: ServedNode) throws -> [String: Any] {
    let rows = try status(leader)["replicas"] as? [[String: Any]] ?? []
    return rows.first { $0["id"] as? String == replica } ?? [:]
  }
}
