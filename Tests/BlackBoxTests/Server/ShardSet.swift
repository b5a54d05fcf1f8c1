import Foundation
import Testing

/// Several shards, each with a leader and replicas, as processes.
struct ShardSet: Sendable {
  let path: String
  /// By shard; the leader's first.
  var settings: [[ServedNode.Settings]]

  /// - Parameters:
  ///   - replicas: how many each shard has.
  ///   - flags: of every node.
  init(
    in directory: TemporaryDirectory, replicas: [Int], flags: [String] = [],
    hash: String = "fnv1-64"
  ) throws {
    path = directory.path("sharding-\(replicas.count).json")
    settings = replicas.enumerated().map { shard, count in
      (0...count).map { number in
        ServedNode.Settings(in: directory, data: directory.path("node-\(shard)-\(number)"))
      }
    }
    let shards = settings.enumerated().map { index, nodes in
      let list = nodes.dropFirst().map { "\"\($0.address)\"" }.joined(separator: ",")
      return """
        {"name":"s\(index)","index":\(index),"leader":"\(nodes[0].address)","replicas":[\(list)]}
        """
    }
    try Data(
      "{\"hash\":\"\(hash)\",\"shards\":[\(shards.joined(separator: ","))]}".utf8
    ).write(to: URL(fileURLWithPath: path))
    for shard in settings.indices {
      for number in settings[shard].indices {
        settings[shard][number].flags =
          ["--config-file", path, "--segment-bytes", "65536"] + flags
      }
    }
  }

  func start(_ shard: Int, _ number: Int = 0) async throws -> ServedNode {
    try await ServedNode.start(settings[shard][number])
  }

  /// Starts all nodes.
  func start() async throws -> [[ServedNode]] {
    var nodes: [[ServedNode]] = []
    // A leader asks its replicas, and waits a moment for those that are not there.
    let started = try await withThrowingTaskGroup(of: (Int, Int, ServedNode).self) { group in
      for (shard, members) in settings.enumerated() {
        for number in members.indices {
          group.addTask { (shard, number, try await start(shard, number)) }
        }
      }
      return try await group.reduce(into: []) { $0.append($1) }
    }
    for (shard, members) in settings.enumerated() {
      nodes.append(
        members.indices.map { number in
          started.first { $0.0 == shard && $0.1 == number }!.2
        })
    }
    return nodes
  }

  /// FNV-1, 64 bits, of the key's bytes, mod the number of shards.
  static func shard(of key: [UInt8], count: Int) -> Int {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in key { hash = (hash &* 0x100_0000_01b3) ^ UInt64(byte) }
    return Int(hash % UInt64(count))
  }

  /// The first keys `PREFIX0`, `PREFIX1`, … of a shard.
  static func keys(of shard: Int, count: Int, _ wanted: Int, prefix: String = "k") -> [String] {
    var keys: [String] = []
    var number = 0
    while keys.count < wanted {
      let key = "\(prefix)\(number)"
      if self.shard(of: Array(key.utf8), count: count) == shard { keys.append(key) }
      number += 1
    }
    return keys
  }
}
