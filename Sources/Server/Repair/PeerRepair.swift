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

/// Heals a data directory that nobody uses, with what other nodes of the shard have: the frames that are
/// missing; or, where they do not go back that far, their snapshot, which covers it.
public struct PeerRepair: Sendable {
  private let path: String
  private let addresses: [NodeAddress]
  /// True for a copy of another node's log.
  public var isCopy = false
  /// Whether the end of the log is taken from the most advanced node, where nothing here says it.
  public var takesUnknownEnd = false
  public var progress = StartProgress()

  public init(_ dataDirectory: String, from addresses: [NodeAddress]) {
    path = dataDirectory
    self.addresses = addresses
  }

  /// - Throws: `WALError` about this node's disk, `locked` when a node is running there. What could not be
  ///   healed is in the report.
  public func run() async throws -> RepairReport {
    let (repair, peers, report) = try await onThread { try begin() }
    guard !report.isWhole else { return report }
    return try await fetchSnapshot(repair, peers, report)
  }

  private func onThread<R: Sendable>(_ body: @escaping @Sendable () throws -> R) async throws -> R {
    try await NIOSingletons.posixBlockingThreadPool.runIfActive(body)
  }

  private func begin() throws(WALError) -> (DirectoryRepair, [PeerFrames], RepairReport) {
    var repair = try DirectoryRepair(path, isCopy: isCopy)
    let progress = progress
    repair.check = { () throws(WALError) in try progress.check() }
    repair.takesUnknownEnd = takesUnknownEnd
    let (reached, lost) = try PeerFrames.all(addresses, check: repair.check)
    repair.guessedOrigin = reached.first?.status.originNumber
    let report = try repair.run(reached as [any FrameSource] + lost as [any FrameSource])
    return (repair, reached, report)
  }

  // MARK: - What the logs of others do not have any more

  private func fetchSnapshot(
    _ repair: DirectoryRepair, _ peers: [PeerFrames], _ report: RepairReport
  ) async throws -> RepairReport {
    var report = report
    for peer in peers {
      guard peer.status.snapshot.sequence > 0 else { continue }
      do {
        let file = try await fetch(peer.address)
        let (found, problem) = try await onThread { [report] in
          if let problem = try repair.adopt(file, report) { return (report, Optional(problem)) }
          var again = try repair.run([])
          again.healed = report.healed + again.healed
          return (again, nil)
        }
        removeScratch()
        guard let problem else {
          report = found
          report.snapshot = peer.snapshotInfo(in: path)
          return report
        }
        report.addReason("\(peer.name): \(problem)")
      } catch let error where !(error is WALError) && !(error is CancellationError) {
        report.addReason("\(peer.name): its snapshot cannot be fetched: \(error)")
      }
    }
    return report
  }

  private var scratch: String { path + "/repair" }

  private func fetch(_ address: NodeAddress) async throws -> String {
    try SystemFileSystem().makeDirectory(scratch)
    let pool = KVPool(limits: KVLimits(connectionsPerNodeMax: 1))
    let transfer = SnapshotTransfer(
      peer: Peer(address: address, pool: pool),
      id: "repair-\(hexadecimal(UInt64.random(in: 1 ... .max)))",
      directory: SnapshotDirectory(scratch), progress: progress)
    let result: Result<String, any Error>
    do { result = .success(try await transfer.run()) } catch { result = .failure(error) }
    try await pool.close().get()
    return try result.get()
  }

  private func removeScratch() {
    // What is left there means nothing, and is used again by the next repair.
    do { try FileManager.default.removeItem(atPath: scratch) } catch {}
  }
}

extension PeerFrames {
  /// The newest snapshot of a directory: the one that was fetched.
  func snapshotInfo(in path: String) -> SnapshotInfo? {
    do {
      guard let newest = try SnapshotDirectory(path).list().first else { return nil }
      return SnapshotInfo(try SnapshotFile(newest.path))
    } catch {
      // It was read a moment ago; only what is said about it is missing.
      return nil
    }
  }
}

extension RepairReport {
  mutating func addReason(_ reason: String) {
    for index in unhealed.indices { unhealed[index].reasons.append(reason) }
  }
}
