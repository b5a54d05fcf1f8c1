import Client
import Engine
import NIOCore
import NIOPosix
import WAL

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// Asks who leads a shard whether it holds the keys of that shard that are here.
struct OwnerInquiry: Sendable {
  /// For one answer.
  private static let askSeconds: Int64 = 2

  let node: NodeState
  let cluster: Cluster
  let proof: PurgeProof

  /// - Returns: why the keys may not go; nil where they may.
  func run() async -> String? {
    do {
      let points = try await points()
      let (answers, failures) = await askAll(points.first)
      let leading = answers.filter { $0.report.isLeading }
      guard let answer = leading.max(by: { $0.epoch < $1.epoch }) else {
        return nobody(answers, failures)
      }
      var report = answer.report
      // Whoever leads in an earlier epoch does not know yet that it does not.
      if let later = answers.first(where: {
        $0.report.origin == report.origin && $0.epoch > answer.epoch
      }) {
        return
          "\(later.report.address) knows of a later epoch than \(report.address), which leads it"
      }
      if await isHeld(&report, answer.start) { return nil }
      if proof.isRelated(report) {
        for point in points.dropFirst() {
          report.points += try await ask(answer.node, point, content: false).report.points
          if proof.judge(report) == .holds { return nil }
        }
        report.content = try await ask(answer.node, nil, content: true).report.content
      }
      switch proof.judge(report) {
      case .holds: return nil
      case .refused(let reason): return "\(report.address) \(reason)"
      }
    } catch {
      return "it cannot be found out whether its leader holds them: \(error)"
    }
  }

  private func nobody(_ answers: [Answer], _ failures: [String]) -> String {
    let names = nodes.map { "\($0)" }.joined(separator: ", ")
    let why = failures.first.map { ": \($0)" } ?? ""
    return answers.isEmpty
      ? "\(names) cannot be asked\(why)"
      : "no node that can be asked leads it, of \(names)\(why)"
  }

  /// Those that may lead the shard, the one that is known to first.
  private var nodes: [NodeAddress] {
    let shard = Int(proof.shard)
    let known = cluster.leader(of: shard)
    return [known] + cluster.nodes(of: shard).filter { $0 != known }
  }

  /// The owner's own point may be of this node's history.
  private func isHeld(_ report: inout PurgeProof.Report, _ start: LogBase?) async -> Bool {
    if proof.judge(report) == .holds { return true }
    guard proof.isRelated(report), let start else { return false }
    let evidence = try? await blocking { try node.store.evidence(of: start) }
    report.start = (start, evidence ?? .unknown)
    return proof.judge(report) == .holds
  }

  /// Points of this node's history behind everything that is to go: the first that the log has, which
  /// is the one that others are most likely to have, and the one at which the directory became its
  /// shard.
  private func points() async throws -> [LogBase] {
    try await blocking {
      let highest = proof.content.highestVersion
      var points = [try node.store.point(behind: highest)].compactMap(\.self)
      if let start = node.store.shardStartPoint, start.position.sequence >= highest,
        !points.contains(start)
      {
        points.append(start)
      }
      return points
    }
  }

  private func blocking<R: Sendable>(_ body: @escaping @Sendable () throws -> R) async throws -> R {
    try await NIOSingletons.posixBlockingThreadPool.runIfActive(body)
  }

  // MARK: - Asking

  private struct Answer: Sendable {
    var node: NodeAddress
    var report: PurgeProof.Report
    var epoch: Epoch
    var start: LogBase?
  }

  /// What those say who answer, and why the others do not.
  private func askAll(_ point: LogBase?) async -> (answers: [Answer], failures: [String]) {
    await withTaskGroup(of: Result<Answer, any Error>.self) { group in
      for node in nodes {
        group.addTask {
          do {
            return .success(try await ask(node, point, content: false))
          } catch {
            return .failure(error)
          }
        }
      }
      var found: (answers: [Answer], failures: [String]) = ([], [])
      for await result in group {
        switch result {
        case .success(let answer): found.answers.append(answer)
        case .failure(let error): found.failures.append("\(error)")
        }
      }
      return found
    }
  }

  /// - Parameter point: nil to ask by epoch and number of the highest version alone.
  private func ask(
    _ owner: NodeAddress, _ point: LogBase?, content: Bool
  ) async throws -> Answer {
    var target = "/admin/history?content=\(content)&origin=\(hexadecimal(proof.origin))"
    let highest = proof.content.highestVersion
    if let position = point?.position {
      target +=
        "&epoch=\(position.epoch.text)&seq=\(position.sequence)&crc=\(hexadecimal(position.crc))"
    } else if let epoch = node.store.epochs.epoch(of: highest) {
      target += "&epoch=\(epoch.text)&seq=\(highest)"
    }
    let peer = Peer(address: owner, pool: node.forwarder.ownPool)
    let answer = try await peer.ask(KVRequest(.GET, target), seconds: Self.askSeconds)
    guard answer.status == 200,
      let said = try? JSONDecoder().decode(
        HistoryAnswer.self, from: Data(answer.body.readableBytesView)),
      let origin = UInt64(said.origin, radix: 16), let epoch = Epoch(said.epoch[...])
    else {
      throw Peer.Unusable(
        description:
          "\(owner) answers \(answer.status), and nothing that is understood: \(String(buffer: answer.body).prefix(200))"
      )
    }
    var report = PurgeProof.Report(
      address: "\(owner)", shard: said.shard.index, shardCount: said.shard.count, hash: said.hash,
      isLeading: said.role == "leader", origin: origin, confirmed: said.confirmed)
    let evidence = said.evidence.flatMap(HistoryEvidence.init)
    if let point, let evidence { report.points = [(point, evidence)] }
    if point == nil, let evidence, let content = said.content?.content {
      report.content = (content, evidence)
    }
    return Answer(node: owner, report: report, epoch: epoch, start: said.start?.point(of: origin))
  }
}
