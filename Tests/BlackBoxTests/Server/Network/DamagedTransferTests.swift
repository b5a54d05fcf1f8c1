import Foundation
import Testing

extension NodeProcessTests {
  @Suite("A snapshot over a link that cuts and damages") struct DamagedTransferTests {
    private static let values = 600
    private static let valueBytes = 20_000

    /// What does not compress to little.
    private static func fill(_ node: ServedNode) async throws {
      let status = try await Threads.runOne {
        let connection = try node.connect()
        var numbers = SeededNumbers(seed: 4)
        for number in 0..<values {
          let bytes = (0..<valueBytes / 4 * 3 / 8).map { _ in numbers.next() }
          let text = bytes.withUnsafeBytes { Data($0) }.base64EncodedString()
          let status = try connection.put("key-\(number)", text).status
          try #require(status == 201)
        }
        return try connection.exchange(HTTPRequest(method: "POST", target: "/admin/snapshot"))
          .status
      }
      #expect(status == 200)
    }

    @Test("is fetched on, or anew, until every byte of it is right")
    func damaged() async throws {
      var nodes = try await LinkedReplicas(1, flags: ["--segment-bytes", "1048576"])
      try await Self.fill(nodes.leader)
      let link = nodes.links[0]
      var numbers = SeededNumbers(seed: 73)
      // In the second piece of 4 MiB, in the second again, and two that are in pieces that are taken.
      let faults: [(isCut: Bool, offset: Int)] = [
        (true, Int.random(in: 4_400_000..<6_000_000, using: &numbers)),
        (true, Int.random(in: 8_000..<2_000_000, using: &numbers)),
        (false, Int.random(in: 8_000..<2_000_000, using: &numbers)),
        (false, Int.random(in: 8_000..<1_500_000, using: &numbers)),
      ]
      for (round, (isCut, offset)) in faults.enumerated() {
        let bit = Int.random(in: 0..<8, using: &numbers)
        link.set(.toFollower) { faults in
          if isCut { faults.cutAfter = offset } else { faults.flip = (offset, bit) }
        }
        if round == 0 { try await nodes.startReplicas() }
        try await link.wait("round \(round): no fault has hit", seconds: 60) {
          let found = $0.faults(.toFollower)
          return found.cuts + found.flips == round + 1
        }
      }
      try await ReplicaSet.catchUp(nodes.leader, nodes.replicas, seconds: 60)
      let said = try nodes.replicas[0].process.errorsSoFar()
      #expect(said.contains("is damaged, and was removed"), "\(said)")
      let data = nodes.set.settings[1].data
      let files = try FileManager.default.contentsOfDirectory(atPath: data + "/snapshots")
      #expect(files.count == 1 && files.allSatisfy { $0.hasSuffix(".snap") }, "\(files)")
      try await LinkedReplicas.write(20, to: nodes.leader)
      try await ReplicaSet.catchUp(nodes.leader, nodes.replicas)
      try await ReplicaSet.expectEqual([nodes.leader] + nodes.replicas, "in the end")
      for node in [nodes.leader] + nodes.replicas { try await node.stop() }
      let verdict = try await Executable.dump.run(
        ["--verify", data], in: nodes.set.directory)
      #expect(verdict.status == 0, "\(verdict.output)")
    }
  }
}
