import Client
import Engine
import Logging
import NIOCore
import NIOPosix
import WAL

/// A start that finds damage asks the other nodes of its shard for what is missing before it gives up;
/// and a running node has its background checks ask them.
enum DamageRepair {
  /// Opens the store; where its data is damaged, after that was healed.
  ///
  /// - Throws: what `open` throws; where nobody could heal it, a `WALError` that says so, too.
  static func open(
    _ configuration: Configuration, _ options: StoreOptions, _ logger: Logger,
    _ open: @escaping @Sendable () throws -> Store
  ) async throws -> Store {
    let others = others(of: configuration, logger)
    // It takes as long as there is data: the threads of tasks have signals to handle meanwhile.
    let pool = NIOSingletons.posixBlockingThreadPool
    let store: Store
    do {
      store = try await pool.runIfActive(open)
    } catch let error as WALError where isDamage(error) && !others.isEmpty {
      try await heal(error, options, others, logger)
      store = try await pool.runIfActive(open)
    }
    if !others.isEmpty {
      store.snapshots.setSources {
        do throws(WALError) {
          let (reached, lost) = try PeerFrames.all(others)
          return reached as [any FrameSource] + lost as [any FrameSource]
        } catch {
          // Only a check throws, and there is none.
          return []
        }
      }
    }
    return store
  }

  /// The other nodes of the shard.
  private static func others(of configuration: Configuration, _ logger: Logger) -> [NodeAddress] {
    var found: [NodeAddress] = []
    let all = [configuration.leaderAddress].compactMap { $0 } + configuration.members.map(\.address)
    for text in all where text != configuration.address {
      do throws(KVClientError) {
        let address = try NodeAddress(parsing: text)
        if !found.contains(address) { found.append(address) }
      } catch {
        logger.error("\(error)")
      }
    }
    return found
  }

  private static func isDamage(_ error: WALError) -> Bool {
    switch error {
    // A setting is what a start says of snapshots that are damaged as well.
    case .damaged, .invalidFile, .setting, .system(.read, _, _): true
    default: false
    }
  }

  private static func heal(
    _ error: WALError, _ options: StoreOptions, _ others: [NodeAddress], _ logger: Logger
  ) async throws {
    var repair = PeerRepair(options.dataDirectory, from: others)
    repair.isCopy = options.isCopy
    if let progress = options.progress { repair.progress = progress }
    let report: RepairReport
    do {
      report = try await repair.run()
    } catch WALError.cancelled {
      throw WALError.cancelled
    } catch let failure as WALError {
      throw WALError.setting("\(error); and it cannot be repaired: \(failure)")
    }
    // Then it was not about damage.
    if report.wasWhole { throw error }
    for healed in report.healed {
      logger.warning("the log was damaged, and is whole again: \(healed)")
    }
    for bad in report.quarantined { logger.warning("\(bad.error); moved to \(bad.path)") }
    if let snapshot = report.snapshot {
      logger.warning(
        "what is damaged is covered by the snapshot up to \(snapshot.sequence) that was fetched")
    }
    guard !report.isWhole else { return }
    let unhealed = report.unhealed.map { "\($0)" }.joined(separator: "; ")
    throw WALError.setting(
      "\(error). No other node of the shard could heal it: \(unhealed). Start again when one that "
        + "holds the same log can be reached, or run kv repair --data-dir "
        + "\(options.dataDirectory) --from ADDRESS")
  }
}
