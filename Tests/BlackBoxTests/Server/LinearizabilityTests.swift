import Foundation
import Synchronization
import Testing

extension NodeProcessTests {
  @Suite("Reads and writes with quorums that meet") struct LinearizabilityTests {
    private let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    private enum Fault: CaseIterable {
      case kill, stall, promotion, twoPromotions, handOver
    }

    private static func promote(_ node: LoopbackAddress, _ query: String = "") throws -> Int {
      try HTTPConnection(to: node, timeoutSeconds: 20).exchange(
        HTTPRequest(method: "POST", target: "/admin/promote" + query)
      ).status
    }

    @Test(
      "are linearizable, whoever is killed, stalls or is promoted, and nothing acknowledged is lost",
      arguments: [1, 2] as [UInt64])
    func histories(seed: UInt64) async throws {
      let set = try ReplicaSet(in: directory, replicas: 2, flags: ["-w", "2", "-r", "2"])
      async let first = set.start(0)
      async let second = set.start(1)
      async let third = set.start(2)
      var nodes = try await [first, second, third]
      try await ReplicaSet.awaitStreaming(nodes[0], count: 2)
      let addresses = set.settings.map(\.address)
      let over = Over()
      let history = RegisterHistory()
      let client = RegisterClient(history: history, nodes: addresses) { over.isSet }
      let names = ["a", "b"]
      async let ended: [Void] = Threads.run(5) { number in
        if number < 2 {
          client.write(names[number])
        } else {
          client.read(names, seed: UInt64(number))
        }
      }
      var numbers = SeededNumbers(seed: seed)
      for round in 0..<12 {
        try await Task.sleep(for: .milliseconds(Int.random(in: 100...400, using: &numbers)))
        let victim = Int.random(in: 0..<3, using: &numbers)
        let other = (victim + Int.random(in: 1...2, using: &numbers)) % 3
        // Each of them comes, in another order for each seed.
        switch Fault.allCases[(round + Int(seed) * 2) % Fault.allCases.count] {
        case .kill:
          try await nodes[victim].kill()
          _ = try? await Threads.runOne { try Self.promote(addresses[other]) }
          nodes[victim] = try await set.start(victim)
        case .stall:
          nodes[victim].process.send(SIGSTOP)
          _ = try? await Threads.runOne { try Self.promote(addresses[other]) }
          try await Task.sleep(for: .milliseconds(Int.random(in: 0...1_500, using: &numbers)))
          nodes[victim].process.send(SIGCONT)
        case .promotion:
          _ = try? await Threads.runOne { try Self.promote(addresses[victim]) }
        case .twoPromotions:
          async let one = Threads.runOne { try? Self.promote(addresses[victim]) }
          async let two = Threads.runOne { try? Self.promote(addresses[other]) }
          _ = try await (one, two)
        case .handOver:
          _ = try? await Threads.runOne { try Self.promote(addresses[victim], "?handover=true") }
        }
      }
      // Somebody leads in the end.
      let deadline = ContinuousClock.now + .seconds(60)
      while try await Threads.runOne({ try Self.promote(addresses[0]) }) != 200 {
        try #require(ContinuousClock.now < deadline, "nobody can be promoted")
        try await Task.sleep(for: .milliseconds(100))
      }
      try await ReplicaSet.awaitStreaming(nodes[0], count: 2)
      over.set()
      _ = try await ended
      #expect(history.faults == [])
      #expect(history.writes > 20 && history.reads > 100)
      try await ReplicaSet.catchUp(nodes[0], [nodes[1], nodes[2]])
      let leader = nodes[0]
      let lost = try await Threads.runOne {
        let connection = try leader.connect()
        return try history.registers.filter { key, register in
          let value = Int(try connection.get(key).text) ?? 0
          return value < max(register.acknowledged, register.read) || value > register.begun
        }
      }
      #expect(lost.isEmpty, "\(lost)")
      try await ReplicaSet.expectEqual(nodes, "in the end")
      for node in nodes { try await node.stop() }
    }
  }
}

/// Set by one, seen by others.
private final class Over: Sendable {
  private let value = Atomic(false)
  var isSet: Bool { value.load(ordering: .relaxed) }
  func set() { value.store(true, ordering: .relaxed) }
}

@Suite("A history of registers") struct RegisterHistoryTests {
  private static func history(begun: Int, acknowledged: Int) -> RegisterHistory {
    let history = RegisterHistory()
    for value in 1...begun {
      history.beginWrite("k", value)
      if value <= acknowledged { history.acknowledged("k", value) }
    }
    return history
  }

  @Test("finds a read that misses what was acknowledged, that is ahead of all writes, or goes back")
  func faults() {
    for (value, isFault) in [(1, true), (2, false), (3, false), (4, true), (0, true)] {
      let history = Self.history(begun: 3, acknowledged: 2)
      history.endRead("k", value, least: history.beginRead("k"), by: "n")
      #expect(history.faults.isEmpty == !isFault, "\(value)")
    }
    let history = Self.history(begun: 3, acknowledged: 1)
    let overlapping = history.beginRead("k")
    history.endRead("k", 3, least: history.beginRead("k"), by: "n")
    history.endRead("k", 1, least: overlapping, by: "n")
    #expect(history.faults.isEmpty)
    history.endRead("k", 2, least: history.beginRead("k"), by: "n")
    #expect(history.faults.count == 1)
  }
}
