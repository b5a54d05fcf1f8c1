import Foundation
import Sharding
import Synchronization
import Testing

/// Nodes of several shards, as processes, and configurations of them.
struct ShardCluster: Sendable {
  let directory: TemporaryDirectory
  /// By shard, the configured leader first.
  let shards: [[LoopbackAddress]]

  init(in directory: TemporaryDirectory, _ counts: [Int]) {
    self.directory = directory
    shards = counts.map { count in (0..<count).map { _ in .fresh() } }
  }

  static func json(
    _ version: Int, _ shards: [[LoopbackAddress]], writeQuorum: Int = 1, remark: String = "s"
  ) -> String {
    let shards = shards.enumerated().map { index, nodes in
      let replicas = nodes.dropFirst().map { "\"\($0)\"" }.joined(separator: ",")
      return
        "{\"name\":\"\(remark)\(index)\",\"index\":\(index),\"leader\":\"\(nodes[0])\",\"replicas\":[\(replicas)]}"
    }
    return
      "{\"version\":\(version),\"write_quorum\":\(writeQuorum),\"shards\":[\(shards.joined(separator: ","))]}"
  }

  /// - Returns: the path of a new file.
  func file(_ json: String) throws -> String {
    let file = directory.freshFile("sharding")
    try Data(json.utf8).write(to: file)
    return file.path
  }

  func data(_ address: LoopbackAddress) -> String { directory.path("data-\(address.port)") }

  func settings(_ address: LoopbackAddress, _ file: String) -> ServedNode.Settings {
    var settings = ServedNode.Settings(in: directory, data: data(address))
    settings.address = address
    settings.flags = ["--config-file", file, "--segment-bytes", "65536"]
    return settings
  }

  func start(_ address: LoopbackAddress, _ file: String) async throws -> ServedNode {
    try await ServedNode.start(settings(address, file))
  }

  /// Starts all nodes at once: with a write quorum one without data waits for the others.
  ///
  /// - Returns: those that lead first.
  func startAll(_ file: String) async throws -> [ServedNode] {
    let nodes = try (shards.map { $0[0] } + shards.flatMap { $0.dropFirst() }).map {
      try ServedNode(settings($0, file))
    }
    for node in nodes { _ = try await node.process.errors { $0.contains("listening on ") } }
    return nodes
  }

  func push(_ json: String, at address: LoopbackAddress) async throws -> Outcome {
    try await Executable.kv.run(
      ["config", "push", try file(json), "--http-addr", "\(address)"], in: directory)
  }

  static func shard(of key: String, _ count: Int) -> Int {
    let bytes = Array(key.utf8)
    return Int(bytes.withUnsafeBytes { ShardHash.fnv1($0) } % UInt64(count))
  }

  /// A key of that shard.
  static func key(_ name: String, of shard: Int, _ count: Int) -> String {
    (0...).lazy.map { "\(name)-\($0)" }.first { Self.shard(of: $0, count) == shard }!
  }

  // MARK: - Waiting

  /// Waits for an answer that is as it should be, whoever begins anew meanwhile.
  static func wait(
    _ what: String, _ target: String, at address: LoopbackAddress,
    until holds: @Sendable @escaping (HTTPAnswer) throws -> Bool
  ) async throws {
    try await Threads.runOne {
      let deadline = ContinuousClock.now + .seconds(40)
      var last = "nothing"
      while ContinuousClock.now < deadline {
        do {
          let answer = try HTTPConnection(to: address).exchange(
            HTTPRequest(method: "GET", target: target))
          last = "\(answer.status) \(answer.text)"
          if try holds(answer) { return }
        } catch is ConnectionError {
          last = "no answer"
        }
        Thread.sleep(forTimeInterval: 0.02)
      }
      throw ReplicaSet.NotInTime(description: "\(what) at \(address): \(last)")
    }
  }

  /// Waits until those nodes serve with that version.
  static func await(version: Int, at addresses: [LoopbackAddress]) async throws {
    for address in addresses {
      try await wait("version \(version)", "/status", at: address) {
        $0.status == 200 && $0.text.contains("\"config_version\":\(version),")
      }
    }
  }

  static func await(role: String, at address: LoopbackAddress) async throws {
    try await wait("a \(role)", "/status", at: address) {
      $0.status == 200 && $0.text.contains("\"role\":\"\(role)\"")
    }
  }
}

/// Writes one key after the other, to whichever of some nodes takes them, and knows what was
/// acknowledged.
final class SteadyWriter: Sendable {
  private let addresses: [LoopbackAddress]
  private let prefix: String
  private let acknowledged = Mutex<[String]>([])
  private let isOver = Atomic(false)

  init(_ addresses: [LoopbackAddress], prefix: String) {
    self.addresses = addresses
    self.prefix = prefix
  }

  var keys: [String] { acknowledged.withLock { $0 } }

  func start() {
    Thread.detachNewThread { self.run() }
  }

  private func run() {
    var number = 0
    var connection: HTTPConnection?
    var turn = 0
    while !isOver.load(ordering: .relaxed) {
      do {
        let open = try connection ?? HTTPConnection(to: addresses[turn % addresses.count])
        connection = open
        let key = "\(prefix)-\(number)"
        let status = try open.put(key, "value of \(key)").status
        number += 1
        if status == 200 || status == 201 {
          acknowledged.withLock { $0.append(key) }
          continue
        }
      } catch {
        number += 1
      }
      connection = nil
      turn += 1
      Thread.sleep(forTimeInterval: 0.005)
    }
  }

  /// Waits until so many more are acknowledged.
  func more(_ count: Int) async throws {
    let wanted = keys.count + count
    let deadline = ContinuousClock.now + .seconds(40)
    while keys.count < wanted {
      guard ContinuousClock.now < deadline else {
        throw ReplicaSet.NotInTime(description: "\(keys.count) of \(wanted) keys are acknowledged")
      }
      try await Task.sleep(for: .milliseconds(5))
    }
  }

  func end() { isOver.store(true, ordering: .relaxed) }

  /// Expects everything that was acknowledged at a node.
  func expectAll(at address: LoopbackAddress, _ moment: String) async throws {
    let keys = keys
    let lost = try await Threads.runOne {
      let connection = try HTTPConnection(to: address)
      return try keys.filter { try connection.get($0).text != "value of \($0)" }
    }
    #expect(lost.isEmpty, "\(moment): \(lost.count) of \(keys.count), as \(lost.prefix(3))")
  }
}
