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
      let known = cluster.leader(of: Int(proof.shard))
      var leader = (known, try? await ask(known, points.first, content: false))
      if leader.1?.report.isLeading != true {
        guard let other = await otherLeader(than: known, points.first) else {
          return nobody(leader.1 == nil ? known : nil)
        }
        leader = (other.0, other.1)
      }
      let owner = leader.0
      var report = leader.1!.report
      if await isHeld(&report, leader.1!.start) { return nil }
      if proof.isRelated(report) {
        for point in points.dropFirst() {
          let answer = try await ask(owner, point, content: false).report
          report.points += answer.points
          if proof.judge(report) == .holds { return nil }
        }
        report.content = try await ask(owner, nil, content: true).report.content
      }
      switch proof.judge(report) {
      case .holds: return nil
      case .refused(let reason): return "\(owner) \(reason)"
      }
    } catch {
      return "it cannot be found out whether its leader holds them: \(error)"
    }
  }

  private func nobody(_ unreachable: NodeAddress?) -> String {
    let names = cluster.nodes(of: Int(proof.shard)).map { "\($0)" }.joined(separator: ", ")
    guard let unreachable else { return "no node leads it, of \(names)" }
    return "\(unreachable) cannot be reached, nor any other that leads it, of \(names)"
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
    var report: PurgeProof.Report
    var epoch: Epoch
    var start: LogBase?
  }

  /// Of the shard's other nodes, the one that leads.
  private func otherLeader(
    than known: NodeAddress, _ point: LogBase?
  ) async -> (NodeAddress, Answer)? {
    await withTaskGroup(of: (NodeAddress, Answer)?.self) { group in
      for other in cluster.nodes(of: Int(proof.shard)) where other != known {
        group.addTask {
          (try? await ask(other, point, content: false)).map { (other, $0) }
        }
      }
      var best: (NodeAddress, Answer)?
      for await answer in group {
        guard let answer, answer.1.report.isLeading else { continue }
        if best.map({ $0.1.epoch < answer.1.epoch }) ?? true { best = answer }
      }
      return best
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
      let said = try? JSONDecoder().decode(HistoryAnswer.self, from: Data(answer.body.readableBytesView)),
      let origin = UInt64(said.origin, radix: 16), let epoch = Epoch(said.epoch[...])
    else {
      throw Peer.Unusable(
        description: "\(owner) answers \(answer.status), and nothing that is understood: \(String(buffer: answer.body).prefix(200))")
    }
    var report = PurgeProof.Report(
      address: "\(owner)", shard: said.shard.index, shardCount: said.shard.count, hash: said.hash,
      isLeading: said.role == "leader", origin: origin, confirmed: said.confirmed)
    let evidence = said.evidence.flatMap(HistoryEvidence.init)
    if let point, let evidence { report.points = [(point, evidence)] }
    if point == nil, let evidence, let content = said.content?.content {
      report.content = (content, evidence)
    }
    return Answer(report: report, epoch: epoch, start: said.start?.point(of: origin))
  }
}
