import Foundation
import Testing

extension NodeProcessTests {
  @Suite("Replicas behind links that are slow or say nothing", .serialized) struct SilentLinkTests {
    /// A replica that hears nothing says that nothing is missing.
    private struct Claim: Error, CustomStringConvertible {
      let description: String
    }

    private enum Fault: Int, CaseIterable {
      /// The leader's stream stands still, or vanishes; what the replica says vanishes; both do.
      case stalled, deafReplica, deafLeader, halfOpen
      case slow, delayed

      /// Nothing of the leader's reaches the replica.
      var isSilent: Bool { self == .stalled || self == .deafReplica || self == .halfOpen }

      func apply(to link: FaultyLink) {
        switch self {
        case .stalled: link.set(.toFollower) { $0.isStalled = true }
        case .deafReplica: link.set(.toFollower) { $0.isSwallowing = true }
        case .deafLeader: link.set(.toLeader) { $0.isSwallowing = true }
        case .halfOpen: link.setBoth { $0.isSwallowing = true }
        case .slow: link.setBoth { $0.bytesPerSecond = 20_000 }
        case .delayed: link.setBoth { $0.delayMilliseconds = 30 }
        }
      }
    }

    /// Behind that time a replica that hears nothing does not say that nothing is missing.
    private static let silenceSeconds = 2.5

    @Test("do not hold up the leader, do not claim to be current, and catch up behind the fault")
    func faults() async throws {
      var nodes = try await LinkedReplicas(Fault.allCases.count)
      try await nodes.startReplicas()
      let (leader, replicas) = (nodes.leader, nodes.replicas)
      try await LinkedReplicas.write(20, to: leader)
      try await ReplicaSet.catchUp(leader, replicas)
      for fault in Fault.allCases { fault.apply(to: nodes.links[fault.rawValue]) }
      // Acknowledged, each of them, whatever the links do.
      try await LinkedReplicas.write(200, to: leader, from: 20)
      try await Task.sleep(for: .seconds(Self.silenceSeconds))
      try await Threads.runOne {
        for fault in Fault.allCases where fault.isSilent {
          try Self.expectUnknownLag(replicas[fault.rawValue], "\(fault)")
        }
      }
      try await LinkedReplicas.write(200, to: leader, from: 220)
      // What they have comes to them without what they say, too.
      try await ReplicaSet.catchUp(
        leader, [replicas[Fault.deafLeader.rawValue], replicas[Fault.delayed.rawValue]])
      let lags = try await Threads.runOne {
        try [Fault.deafLeader, .stalled, .halfOpen].map { fault in
          let row = try ReplicaSet.row(of: "\(replicas[fault.rawValue].address)", on: leader)
          return row["lag_records"] as? Int ?? 1
        }
      }
      // What was not acknowledged is not taken for had.
      #expect(lags.allSatisfy { $0 > 0 }, "\(lags)")
      try await Threads.runOne {
        for fault in Fault.allCases where fault.isSilent {
          try Self.expectGivenUp(replicas[fault.rawValue], "\(fault)")
        }
      }
      for link in nodes.links { link.heal() }
      try await ReplicaSet.catchUp(leader, replicas)
      // A hole in a stream that goes on.
      for link in nodes.links { link.set(.toFollower) { $0.isSwallowing = true } }
      try await LinkedReplicas.write(20, to: leader, from: 420)
      for link in nodes.links { link.heal() }
      try await LinkedReplicas.write(20, to: leader, from: 440)
      try await nodes.expectEqualInTheEnd()
    }

    /// Waits until a replica has ended its connection because nothing came.
    private static func expectGivenUp(_ replica: ServedNode, _ fault: String) throws {
      let deadline = ContinuousClock.now + .seconds(30)
      while true {
        let found = try ReplicaSet.following(replica)
        if (found["trouble"] as? String)?.contains("nothing heard") == true { return }
        guard ContinuousClock.now < deadline else {
          throw ReplicaSet.NotInTime(description: "\(fault): it still waits: \(found)")
        }
        Thread.sleep(forTimeInterval: 0.02)
      }
    }

    /// Waits until its lag is unknown: at no moment is it 0.
    private static func expectUnknownLag(_ replica: ServedNode, _ fault: String) throws {
      let deadline = ContinuousClock.now + .seconds(30)
      var isUnknown = false
      while !isUnknown {
        let found = try ReplicaSet.following(replica)
        for name in ["lag_records", "lag_records_to_receive", "lag_seconds"] {
          let text = found[name].map { "\($0)" } ?? "null"
          guard text != "0", text != "0.0" else { throw Claim(description: "\(fault): \(found)") }
        }
        isUnknown = ["lag_records", "lag_seconds"].allSatisfy {
          found[$0] == nil || found[$0] is NSNull
        }
        guard ContinuousClock.now < deadline else {
          throw ReplicaSet.NotInTime(description: "\(fault): its lag stays known: \(found)")
        }
        Thread.sleep(forTimeInterval: 0.02)
      }
    }
  }
}
