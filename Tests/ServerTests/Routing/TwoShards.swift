import Server
import Sharding

/// Two shards, of which a node is the first: `adjective` is its own, `adverb` and `watermelon` are the other's.
enum TwoShards {
  /// Where nobody listens.
  static let nobody = "127.0.0.1:1"

  static func map(leader: String, replicas: [String] = []) throws -> ShardMap {
    let list = replicas.map { "\"\($0)\"" }.joined(separator: ",")
    return try ShardMap(
      json: Array(
        """
        {"shards":[{"name":"a","index":0,"leader":"127.0.0.9:1"},
                   {"name":"b","index":1,"leader":"\(leader)","replicas":[\(list)]}]}
        """.utf8), file: "test")
  }

  static func with(
    _ lane: ConfiguredLane, leader: String, replicas: [String] = [],
    _ configure: (inout Configuration) -> Void = { _ in },
    _ body: (RunningNode) async throws -> Void
  ) async throws {
    let map = try map(leader: leader, replicas: replicas)
    try await RunningNode.with(
      lane,
      {
        $0.map = map
        $0.shardCount = 2
        configure(&$0)
      }, body)
  }

  /// What a node says of itself that leads, or does not.
  static func status(_ role: String, epoch: Int = 1) -> FakeMember.Answer {
    FakeMember.Answer(
      body: """
        {"role":"\(role)","epoch":\(epoch),"epoch_node":"0000000000000001",\
        "origin":"0000000000000002","sequence":{"durable":1,"applied":1},\
        "wal":{"oldest_sequence":1},"snapshot":{"sequence":0}}
        """)
  }
}
