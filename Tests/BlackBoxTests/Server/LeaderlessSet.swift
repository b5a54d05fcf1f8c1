import Foundation
import Testing

/// The nodes of a leaderless shard, as processes.
struct LeaderlessSet: Sendable {
  let directory: TemporaryDirectory
  let path: String
  var settings: [ServedNode.Settings]

  init(
    in directory: TemporaryDirectory, nodes: Int, writeQuorum: Int = 1, readQuorum: Int = 1,
    flags: [String] = []
  ) throws {
    self.directory = directory
    path = directory.path("leaderless.json")
    settings = (0..<nodes).map { number in
      ServedNode.Settings(in: directory, data: directory.path("node-\(number)"))
    }
    let addresses = settings.map { "\"\($0.address)\"" }.joined(separator: ",")
    try Data(
      """
      {"version":1,"mode":"leaderless","nodes":[\(addresses)],"write_quorum":\(writeQuorum),
       "read_quorum":\(readQuorum)}
      """.utf8
    ).write(to: URL(fileURLWithPath: path))
    for number in settings.indices {
      settings[number].flags = ["--config-file", path, "--segment-bytes", "65536"] + flags
    }
  }

  func start(_ number: Int) async throws -> ServedNode {
    try await ServedNode.start(settings[number])
  }

  func start() async throws -> [ServedNode] {
    var nodes: [ServedNode] = []
    for number in settings.indices { nodes.append(try await start(number)) }
    return nodes
  }

  // MARK: - Requests

  static func send(_ request: HTTPRequest, to node: ServedNode) throws -> HTTPAnswer {
    try node.connect().exchange(request)
  }

  @discardableResult
  static func put(
    _ key: String, _ value: String, at node: ServedNode, context: String? = nil,
    query: String = ""
  ) throws -> HTTPAnswer {
    var request = HTTPRequest.put(key, value)
    request.target += query
    if let context { request.headers.append(("X-KV-Context", context)) }
    return try send(request, to: node)
  }

  /// The values that a node has of a key, sorted.
  static func values(_ key: String, at node: ServedNode) throws -> [String] {
    let answer = try send(.get(key), to: node)
    switch answer.status {
    case 200: return [String(decoding: answer.body, as: UTF8.self)]
    case 300:
      let siblings = try #require(try answer.members()["siblings"] as? [[String: Any]])
      return siblings.compactMap { $0["value"] as? String }.sorted()
    default: return []
    }
  }

  static func context(_ key: String, at node: ServedNode) throws -> String {
    let answer = try send(.get(key), to: node)
    return try #require(answer.headers["x-kv-context"])
  }

  struct NotInTime: Error, CustomStringConvertible { let description: String }

  /// Waits until all nodes have applied the same, and expects that they have the same then.
  static func settle(_ nodes: [ServedNode], seconds: Int = 30) async throws {
    try await Threads.runOne {
      let deadline = ContinuousClock.now + .seconds(seconds)
      while true {
        let found = nodes.compactMap { try? ReplicaSet.status($0) }
        let origins = Set(found.map { "\(($0["origins"] as? [String: Int]) ?? [:])" }.map(sorted))
        if found.count == nodes.count, origins.count == 1 {
          // Marks may come any time: what follows is read again then.
          let states = Set(found.map { "\($0["digest"] ?? "") \($0["keys"] ?? "")" })
          if states.count == 1 { return }
        }
        guard ContinuousClock.now < deadline else {
          throw NotInTime(
            description: found.map {
              "\($0["origins"] ?? "") \($0["digest"] ?? "") \($0["keys"] ?? "")"
            }.joined(separator: "; "))
        }
        Thread.sleep(forTimeInterval: 0.02)
      }
    }
  }

  private static func sorted(_ text: String) -> String { String(text.sorted()) }

  static func within(
    _ what: String, seconds: Int = 20, _ isSo: @escaping @Sendable () throws -> Bool
  ) async throws {
    try await Threads.runOne {
      let deadline = ContinuousClock.now + .seconds(seconds)
      while try !isSo() {
        guard ContinuousClock.now < deadline else { throw NotInTime(description: what) }
        Thread.sleep(forTimeInterval: 0.01)
      }
    }
  }
}
