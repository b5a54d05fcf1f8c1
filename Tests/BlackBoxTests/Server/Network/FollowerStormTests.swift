import Foundation
import Testing

extension NodeProcessTests {
  @Suite("Followers that come and go") struct FollowerStormTests {
    private static let threads = 10
    private static let connectionsPerThread = 20
    private static let streamsMax = 256

    private static func stream(from: Int, as name: String? = nil) -> HTTPRequest {
      HTTPRequest(
        method: "GET",
        target: "/wal/stream?from=\(from)" + (name.map { "&replica=\($0)" } ?? ""))
    }

    /// The status of an answer without an end; takes a part of it.
    private static func status(_ connection: HTTPConnection) -> Int? {
      var head = [UInt8](repeating: 0, count: 12)
      guard recv(connection.descriptor, &head, 12, Int32(MSG_WAITALL)) == 12 else { return nil }
      return Int(String(decoding: head[9...], as: UTF8.self))
    }

    /// Opens streams and drops them, in order or by reset, with what they are at.
    ///
    /// - Returns: how many answers there were of each status.
    private static func storm(_ thread: Int, on node: ServedNode) throws -> [Int: Int] {
      var numbers = SeededNumbers(seed: UInt64(thread))
      var statuses: [Int: Int] = [:]
      for _ in 0..<12 {
        let end = try ReplicaSet.durable(node)
        var connections = try (0..<connectionsPerThread).map { number in
          let connection = try node.connect()
          let name = numbers.once(in: 2) ? "storm-\((thread + number) % 40)" : nil
          try connection.send(stream(from: Int.random(in: 1...end, using: &numbers), as: name))
          return connection
        }
        connections.shuffle(using: &numbers)
        while let connection = connections.popLast() {
          if numbers.once(in: 3) {
            var linger = linger(l_onoff: 1, l_linger: 0)
            setsockopt(
              connection.descriptor, SOL_SOCKET, SO_LINGER, &linger,
              socklen_t(MemoryLayout<Foundation.linger>.size))
          }
          // Some are gone before they are answered.
          if numbers.once(in: 3) { continue }
          if let status = status(connection) { statuses[status, default: 0] += 1 }
        }
      }
      return statuses
    }

    /// Waits until the node has no more descriptors than that.
    private static func descriptors(_ node: ServedNode, back to: Int) throws -> Int {
      let deadline = ContinuousClock.now + .seconds(30)
      while try node.openDescriptors() > to, ContinuousClock.now < deadline {
        Thread.sleep(forTimeInterval: 0.05)
      }
      return try node.openDescriptors()
    }

    @Test("are forgotten, however many there were, and no more than the bound are served")
    func storm() async throws {
      let directory = try TemporaryDirectory()
      var settings = ServedNode.Settings(in: directory)
      settings.flags = ["--segment-bytes", "1048576", "--snapshot-wal-bytes", "1GiB"]
      let node = try await ServedNode.start(settings)
      try await LinkedReplicas.write(2_000, to: node)
      let before = try node.openDescriptors()
      async let written: Void = LinkedReplicas.write(2_000, to: node, from: 2_000)
      let found = try await Threads.run(Self.threads) { try Self.storm($0, on: node) }
      try await written
      let statuses = found.reduce(into: [Int: Int]()) { $0.merge($1, uniquingKeysWith: +) }
      // 503: of names, or of streams, there were too many at this moment.
      #expect(Set(statuses.keys).isSubset(of: [200, 503]), "\(statuses)")
      #expect(statuses[200, default: 0] > 500, "\(statuses)")
      // A file of the log more or less may be open.
      let bound = before + 4
      let behind = try await Threads.runOne { try Self.descriptors(node, back: bound) }
      #expect(behind <= bound, "\(before) before")
      let served = try await Threads.runOne { try Self.countServed(node) }
      #expect(served == [200: Self.streamsMax, 503: 300 - Self.streamsMax])
      let inTheEnd = try await Threads.runOne { try Self.descriptors(node, back: bound) }
      #expect(inTheEnd <= bound, "\(before) before")
      try await LinkedReplicas.write(10, to: node)
      try await node.stop()
    }

    /// 300 streams at once.
    private static func countServed(_ node: ServedNode) throws -> [Int: Int] {
      var statuses: [Int: Int] = [:]
      let connections = try (0..<300).map { _ in
        let connection = try node.connect()
        try connection.send(stream(from: 1))
        return connection
      }
      for connection in connections { statuses[status(connection) ?? 0, default: 0] += 1 }
      return statuses
    }
  }
}
