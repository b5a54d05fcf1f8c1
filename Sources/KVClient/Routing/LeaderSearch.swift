import Client
import NIOCore

/// Finds out who leads a shard by asking its nodes: `GET /status`.
package struct LeaderSearch: Sendable {
  package enum Outcome: Sendable {
    case found(NodeAddress)
    /// And what they say.
    case nobody(String)
  }

  /// A node that has said nothing of use.
  package struct Silence: Sendable {
    package var node: NodeAddress
    package var error: KVClientError
  }

  /// Nodes of which an error tells.
  private static let toldMax = 8
  /// Nodes that are asked because others name them.
  private static let namedMax = 4

  private let pool: KVPool

  package init(_ pool: KVPool) { self.pool = pool }

  /// - Parameters:
  ///   - shard: its index, and how many there are, where that is known: nodes of another are no help.
  ///   - seconds: how long the nodes have to answer, and once more those that they name.
  package func find(
    _ nodes: [NodeAddress], shard: (index: Int, count: Int)?, within time: TimeAmount
  ) async -> Outcome {
    var (reports, silent) = await ask(nodes, deadline: .now() + time) { reports, answered in
      LeaderChoice.isSettled(
        Self.fit(reports, shard), answered: answered, of: nodes.count)
    }
    if LeaderChoice.leader(among: Self.fit(reports, shard)) == nil {
      let named = LeaderChoice.named(by: reports, asked: nodes).prefix(Self.namedMax)
      let (more, others) = await ask(Array(named), deadline: .now() + time) { _, _ in false }
      reports += more
      silent += others
    }
    if let leader = LeaderChoice.leader(among: Self.fit(reports, shard)) {
      return .found(leader.address)
    }
    return .nobody(Self.reason(reports, silent))
  }

  /// Asks all of them at once, until they have answered, or `isEnough` (with what came, and of how many).
  package func ask(
    _ nodes: [NodeAddress], deadline: NIODeadline,
    until isEnough: @Sendable ([NodeReport], Int) -> Bool
  ) async -> (reports: [NodeReport], silent: [Silence]) {
    await withTaskGroup(of: Result<NodeReport, Silence>.self) { group in
      for node in nodes { group.addTask { await report(of: node, deadline) } }
      var (reports, silent) = ([NodeReport](), [Silence]())
      for await answer in group {
        switch answer {
        case .success(let report): reports.append(report)
        case .failure(let silence): silent.append(silence)
        }
        if isEnough(reports, reports.count + silent.count) { group.cancelAll() }
      }
      return (reports, silent)
    }
  }

  private func report(
    of node: NodeAddress, _ deadline: NIODeadline
  ) async -> Result<NodeReport, Silence> {
    do throws(KVClientError) {
      let answer = try await pool.answer(
        to: KVRequest(.GET, "/status"), on: node, deadline: deadline)
      guard answer.status == 200 else { throw KeyExchange.refusal(answer, node) }
      guard let report = NodeReport(Array(answer.body.readableBytesView), of: node) else {
        throw .unexpectedAnswer(node, "/status is not what a node answers")
      }
      return .success(report)
    } catch {
      return .failure(Silence(node: node, error: error))
    }
  }

  /// Those that are not of another shard.
  private static func fit(
    _ reports: [NodeReport], _ shard: (index: Int, count: Int)?
  ) -> [NodeReport] {
    guard let shard else { return reports }
    return reports.filter { $0.shardCount != shard.count || $0.shard == shard.index }
  }

  private static func reason(_ reports: [NodeReport], _ silent: [Silence]) -> String {
    let told =
      reports.map { report in
        let leader = report.leader.map { ", which names \($0)" } ?? ""
        return
          "\(report.address) is \(report.role == .leader ? "of another shard" : "a replica\(leader)")"
      }
      + silent.map { silence in
        switch silence.error {
        case .neverSent(let node, let cause), .outcomeUnknown(let node, let cause, _):
          "\(node): \(cause)"
        case .refused(let node, let status, let message): "\(node): \(status) \(message)"
        default: "\(silence.error)"
        }
      }
    let rest = told.count > toldMax ? ", …" : ""
    return told.prefix(toldMax).joined(separator: ", ") + rest
  }
}

extension LeaderSearch.Silence: Error {}
