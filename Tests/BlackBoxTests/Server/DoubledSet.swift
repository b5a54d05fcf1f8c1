import Foundation
import Sharding
import Testing

/// The nodes of a configuration of several shards, as processes: of each shard a leader, and replicas.
struct DoubledSet: Sendable {
  let directory: TemporaryDirectory
  /// By the name of their data directories; addresses stay when the number of shards changes.
  private(set) var settings: [String: ServedNode.Settings] = [:]

  init(in directory: TemporaryDirectory) { self.directory = directory }

  /// Writes a configuration, and has its nodes started with it from now on.
  ///
  /// - Parameter shards: of each, in order, the names of its nodes, its leader's first.
  mutating func configure(_ shards: [[String]], flags: [String] = []) throws {
    for name in shards.joined() where settings[name] == nil {
      settings[name] = ServedNode.Settings(in: directory, data: directory.path(name))
    }
    func address(_ name: String) -> String { "\"\(settings[name]!.address)\"" }
    let lines = shards.enumerated().map { index, names in
      "{\"name\":\"shard-\(index)\",\"index\":\(index),\"leader\":\(address(names[0])),"
        + "\"replicas\":[\(names.dropFirst().map(address).joined(separator: ","))]}"
    }
    let path = directory.path("sharding-\(shards.count).json")
    try Data("{\"version\":1,\"shards\":[\(lines.joined(separator: ","))]}".utf8)
      .write(to: URL(fileURLWithPath: path))
    for name in shards.joined() {
      settings[name]!.flags = ["--config-file", path, "--segment-bytes", "16384"] + flags
    }
  }

  func start(_ name: String) async throws -> ServedNode {
    try await ServedNode.start(settings[name]!)
  }

  /// Starts nodes of which none may begin before the others are there.
  func start(together names: [String]) async throws -> [String: ServedNode] {
    var nodes: [String: ServedNode] = [:]
    for name in names { nodes[name] = try ServedNode(settings[name]!) }
    for node in nodes.values { _ = try await node.process.errors { $0.contains("listening on ") } }
    return nodes
  }

  func data(_ name: String) -> String { settings[name]!.data }

  /// `cp -a` of a node's data directory.
  func copy(_ name: String, to other: String) throws {
    try FileManager.default.copyItem(atPath: data(name), toPath: data(other))
  }

  /// Keys of a shard.
  static func keys(_ count: Int, of shard: UInt32, of shards: UInt32) -> [String] {
    (0..<100_000).lazy.map { "key-\($0)" }.filter { self.shard(of: $0, shards) == shard }
      .prefix(count).map(\.self)
  }

  static func shard(of key: String, _ count: UInt32) -> UInt32 {
    UInt32(Array(key.utf8).withUnsafeBytes { ShardHash.fnv1($0) } % UInt64(count))
  }

  struct Purged: Equatable, CustomStringConvertible {
    var status: Int
    var text: String
    /// As the header says it.
    var keys: Int?
    var description: String { "\(status) \(text) \(keys.map { "\($0)" } ?? "")" }
  }

  static func purge(_ node: ServedNode, _ options: String = "") async throws -> Purged {
    try await Threads.runOne {
      let answer = try node.connect().exchange(
        HTTPRequest(method: "POST", target: "/purge\(options)", body: []))
      let line = answer.head.split(separator: "\r\n")
        .first { $0.lowercased().hasPrefix("x-kv-purged: ") }
      return Purged(
        status: answer.status, text: answer.text,
        keys: line.flatMap { Int($0.split(separator: " ")[1]) })
    }
  }

  static func write(
    _ node: ServedNode, _ keys: [String], _ value: String = "value"
  ) async throws {
    let statuses = try await Threads.runOne {
      let connection = try node.connect()
      return try keys.map { try connection.put($0, value).status }
    }
    #expect(statuses.allSatisfy { $0 == 200 || $0 == 201 })
  }

  /// What a node says of itself: the number of its keys, its last number, and who began its epoch.
  struct State: Equatable {
    var keys: Int
    var sequence: Int
    var epochNode: String
    var oldest: Int
  }

  static func state(_ node: ServedNode) async throws -> State {
    try await Threads.runOne {
      let status = try ReplicaSet.status(node)
      let sequence = try #require(status["sequence"] as? [String: Any])
      let log = try #require(status["wal"] as? [String: Any])
      return State(
        keys: try #require(status["keys"] as? Int),
        sequence: try #require(sequence["applied"] as? Int),
        epochNode: try #require(status["epoch_node"] as? String),
        oldest: try #require(log["oldest_sequence"] as? Int))
    }
  }
}
