import Client
import NIOCore
import Sharding
import WAL

/// Asks the other nodes, one after the other, whether they have a higher version: what a push has missed
/// spreads all the same. Nodes that have the same version and another content are told of in the log.
public struct ConfigurationPoll: Sendable {
  private static let pause = Duration.seconds(2)
  /// Between the first ones of a node's life, which may have missed something.
  private static let firstPause = Duration.milliseconds(200)
  private static let firstRounds = 4
  private static let answer = TimeAmount.seconds(2)
  /// What was said is not said again; of more than that is forgotten.
  private static let saidMax = 256

  static let versionField = "X-KV-Config-Version"
  static let checkField = "X-KV-Config-Check"

  private let keeper: ConfigurationKeeper

  public init(_ keeper: ConfigurationKeeper) { self.keeper = keeper }

  /// Runs until its task is cancelled.
  public func run() async {
    var said: Set<String> = []
    var number = Int.random(in: 0..<1_024)
    var rounds = 0
    while true {
      try? await Task.sleep(for: rounds < Self.firstRounds ? Self.firstPause : Self.pause)
      guard !Task.isCancelled else { return }
      rounds += 1
      number += 1
      let others = keeper.current.map.addresses.filter { $0 != keeper.address }
      guard !others.isEmpty, let node = try? NodeAddress(parsing: others[number % others.count])
      else { continue }
      guard let complaint = await ask(node) else { continue }
      if said.count >= Self.saidMax { said = [] }
      if said.insert(complaint).inserted { keeper.logger.error("\(complaint)") }
    }
  }

  /// - Returns: what is wrong.
  private func ask(_ node: NodeAddress) async -> String? {
    let own = keeper.current
    let request = KVRequest(.GET, "/admin/config?above=\(own.number)")
    guard
      let answer = try? await keeper.pool.execute(
        request, on: node, deadline: .now() + Self.answer
      ).get()
    else { return nil }
    switch answer.status {
    case 204:
      guard answer.headers.first(name: Self.versionField) == "\(own.number)",
        let check = answer.headers.first(name: Self.checkField),
        check != hexadecimal(own.check)
      else { return nil }
      return
        "configuration: \(node) and this node, \(keeper.address), have version \(own.number), and what it "
        + "says differs: push one with a higher version (kv config push)"
    case 200:
      return await take(Array(answer.body.readableBytesView), from: node)
    default: return nil
    }
  }

  private func take(_ json: [UInt8], from node: NodeAddress) async -> String? {
    do {
      let (map, verdict) = try await keeper.offer(
        json: json, file: "the configuration of \(node)")
      switch verdict {
      case .taken:
        keeper.logger.notice(
          "configuration: version \(map.version), of \(node), counts from now on")
        keeper.settle()
        return nil
      // Somebody was faster.
      case .known: return nil
      case .refused(let reason):
        return "configuration: version \(map.version), of \(node), is not taken: \(reason)"
      case .failed(let error):
        return "configuration: version \(map.version), of \(node), cannot be stored: \(error)"
      }
    } catch {
      return "configuration: what \(node) has cannot be read: \(error)"
    }
  }
}
