import Foundation
import Testing

/// A leader and its replicas, as processes.
struct ReplicaSet: Sendable {
  struct NotInTime: Error, CustomStringConvertible {
    let description: String
  }

  let directory: TemporaryDirectory
  /// The leader's first.
  var settings: [ServedNode.Settings]

  init(in directory: TemporaryDirectory, replicas: Int, flags: [String] = []) throws {
    self.directory = directory
    var settings = (0...replicas).map { number in
      ServedNode.Settings(in: directory, data: directory.path("node-\(number)"))
    }
    let path = directory.path("sharding.json")
    let addresses = settings.dropFirst().map { "\"\($0.address)\"" }.joined(separator: ",")
    try Data(
      """
      {"version":1,"shards":[{"name":"only","index":0,"leader":"\(settings[0].address)",
        "replicas":[\(addresses)]}]}
      """.utf8
    ).write(to: URL(fileURLWithPath: path))
    for number in settings.indices {
      settings[number].flags = ["--config-file", path, "--segment-bytes", "65536"] + flags
    }
    self.settings = settings
  }

  func start(_ number: Int) async throws -> ServedNode {
    try await ServedNode.start(settings[number])
  }

  /// Removes everything that a node has.
  func empty(_ number: Int) throws {
    try FileManager.default.removeItem(atPath: settings[number].data)
  }

  static func status(_ node: ServedNode) throws -> [String: Any] {
    try node.connect().exchange(.status).members()
  }

  private static func sequence(_ status: [String: Any], _ name: String) -> Int? {
    (status["sequence"] as? [String: Any])?[name] as? Int
  }

  /// Waits until the replicas have applied what the leader has now.
  static func catchUp(
    _ leader: ServedNode, _ replicas: [ServedNode], seconds: Int = 30
  ) async throws {
    try await Threads.runOne {
      let wanted = try #require(try sequence(status(leader), "durable"))
      let deadline = ContinuousClock.now + .seconds(seconds)
      for replica in replicas {
        while true {
          let found = try? status(replica)
          if let found, let applied = sequence(found, "applied"), applied >= wanted { break }
          guard ContinuousClock.now < deadline else {
            throw NotInTime(
              description: "\(replica.address) is not at \(wanted): \(found ?? [:])")
          }
          Thread.sleep(forTimeInterval: 0.01)
        }
      }
    }
  }

  /// Waits until so many replicas get what the leader has just written: writes can wait for them then.
  static func awaitStreaming(_ leader: ServedNode, count: Int) async throws {
    try await Threads.runOne {
      let deadline = ContinuousClock.now + .seconds(30)
      while true {
        let rows = try status(leader)["replicas"] as? [[String: Any]] ?? []
        if rows.count(where: { $0["state"] as? String == "streaming" }) >= count { return }
        guard ContinuousClock.now < deadline else {
          throw NotInTime(description: "\(count) replicas do not stream: \(rows)")
        }
        Thread.sleep(forTimeInterval: 0.01)
      }
    }
  }

  /// Waits until a node leads, or follows. With W > 1 a leader that has started may have to ask for promises first,
  /// while replicas stream from it already.
  static func awaitRole(_ node: ServedNode, _ role: String) async throws {
    try await Threads.runOne {
      let deadline = ContinuousClock.now + .seconds(30)
      while try status(node)["role"] as? String != role {
        guard ContinuousClock.now < deadline else {
          throw NotInTime(description: "\(node.address) is no \(role)")
        }
        Thread.sleep(forTimeInterval: 0.01)
      }
    }
  }

  /// Expects the same state on all nodes, which are quiet.
  static func expectEqual(_ nodes: [ServedNode], _ moment: String) async throws {
    let found = try await Threads.runOne {
      try nodes.map { node in
        let status = try status(node)
        return "\(status["digest"] ?? "none") \(status["keys"] ?? "none") \(status["origin"] ?? "")"
      }
    }
    #expect(Set(found).count == 1, "\(moment): \(found)")
  }

  /// Expects the same frames in the logs of nodes that have ended.
  func expectEqualLogs() async throws {
    for other in settings.dropFirst() {
      let outcome = try await Executable.dump.run(
        ["--diff", settings[0].data, other.data], in: directory)
      #expect(outcome.status == 0, "\(outcome.output) \(outcome.errors)")
      let verdict = try await Executable.dump.run(["--verify", other.data], in: directory)
      #expect(verdict.status == 0, "\(verdict.output)")
    }
  }
}
