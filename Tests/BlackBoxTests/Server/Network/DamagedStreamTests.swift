import Foundation
import Testing

extension NodeProcessTests {
  @Suite("A replica behind a link that cuts and damages", .serialized) struct DamagedStreamTests {
    /// Ends the replica's connections, writes a stream's worth of records, sets a fault, and lets it
    /// come back. Waits until the fault has hit.
    private func hit(
      _ nodes: LinkedReplicas, round: Int, fault: (inout LinkFaults) -> Void
    ) async throws {
      let link = nodes.links[0]
      link.refuseConnections(true)
      link.dropAll()
      try await link.wait("it still has connections") { $0.connections.open == 0 }
      try await LinkedReplicas.write(12, to: nodes.leader, from: 12 * round)
      let before = link.faults(.toFollower)
      link.set(.toFollower, fault)
      link.refuseConnections(false)
      try await link.wait("round \(round): no fault has hit") {
        let now = $0.faults(.toFollower)
        return now.cuts + now.flips > before.cuts + before.flips
      }
    }

    @Test("has every frame once, wherever the connection is cut")
    func cuts() async throws {
      var nodes = try await LinkedReplicas(1)
      try await nodes.startReplicas()
      try await LinkedReplicas.write(20, to: nodes.leader)
      try await ReplicaSet.catchUp(nodes.leader, nodes.replicas)
      var numbers = SeededNumbers(seed: 71)
      for round in 0..<50 {
        let offset = Int.random(in: 0..<3_500, using: &numbers)
        let resets = Bool.random(using: &numbers)
        try await hit(nodes, round: round) {
          $0.cutAfter = offset
          $0.resets = resets
        }
        if round % 10 == 9 {
          try await ReplicaSet.catchUp(nodes.leader, nodes.replicas)
          try await ReplicaSet.expectEqual([nodes.leader] + nodes.replicas, "round \(round)")
        }
      }
      // What it says to its leader is cut, too.
      let link = nodes.links[0]
      for round in 0..<10 {
        let offset = Int.random(in: 0..<600, using: &numbers)
        link.set(.toLeader) { $0.cutAfter = offset }
        try await LinkedReplicas.write(10, to: nodes.leader, from: 10 * round, valueBytes: 2_000)
      }
      link.heal()
      try await nodes.expectEqualInTheEnd()
    }

    @Test("never applies a changed bit: it closes the connection and asks again")
    func changedBits() async throws {
      var nodes = try await LinkedReplicas(1)
      try await nodes.startReplicas()
      try await LinkedReplicas.write(20, to: nodes.leader)
      try await ReplicaSet.catchUp(nodes.leader, nodes.replicas)
      var numbers = SeededNumbers(seed: 72)
      for round in 0..<40 {
        let offset = Int.random(in: 0..<3_500, using: &numbers)
        let bit = Int.random(in: 0..<8, using: &numbers)
        try await hit(nodes, round: round) { $0.flip = (offset, bit) }
        try await ReplicaSet.catchUp(nodes.leader, nodes.replicas)
        try await ReplicaSet.expectEqual([nodes.leader] + nodes.replicas, "round \(round)")
      }
      let said = try nodes.replicas[0].process.errorsSoFar()
      #expect(said.contains("is not a frame of this log"), "\(said)")
      try await nodes.expectEqualInTheEnd()
    }

    @Test("goes on when the status of its stream was changed on the way")
    func changedStatus() async throws {
      var nodes = try await LinkedReplicas(1)
      try await nodes.startReplicas()
      try await LinkedReplicas.write(5, to: nodes.leader)
      try await ReplicaSet.catchUp(nodes.leader, nodes.replicas)
      // `HTTP/1.1 200`: a refusal whose body never ends.
      for (round, (place, bit)) in [(9, 0), (10, 0), (11, 1), (9, 2)].enumerated() {
        try await hit(nodes, round: round) { $0.flip = (place, bit) }
        try await ReplicaSet.catchUp(nodes.leader, nodes.replicas)
      }
      try await nodes.expectEqualInTheEnd()
    }
  }
}
