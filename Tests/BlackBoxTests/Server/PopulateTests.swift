import Foundation
import Testing

extension NodeProcessTests {
  @Suite("scripts/populate") struct PopulateTests {
    private let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    private func populate(_ file: String) async throws -> Outcome {
      let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
      return try await Executable.shell.run(
        [root.appendingPathComponent("scripts/populate").path, file], in: directory)
    }

    @Test("puts its keys through every node, says where they went, and fails where one is gone")
    func fill() async throws {
      let cluster = ShardCluster(in: directory, [2, 2, 2, 2])
      let file = try cluster.file(ShardCluster.json(1, cluster.shards))
      let nodes = try await cluster.startAll(file)
      for leader in nodes[..<4] { try await ReplicaSet.awaitStreaming(leader, count: 1) }
      let outcome = try await populate(file)
      #expect(outcome.status == 0, "\(outcome.errors)")
      #expect(
        outcome.output == """
            shard 0: 27 keys
            shard 1: 25 keys
            shard 2: 24 keys
            shard 3: 24 keys
            100 keys through 8 nodes

          """)
      try await nodes[1].kill()
      let again = try await populate(file)
      #expect(again.status == 1 && again.errors.contains("keys failed"), "\(again.output)")
      for (number, node) in nodes.enumerated() where number != 1 { try await node.stop() }
    }
  }
}
