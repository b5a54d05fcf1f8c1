import Engine
import Glibc
import NIOCore
import NIOEmbedded
import Server
import SimulatedDisk
import Synchronization
import TemporaryFiles
import WAL

/// A node without sockets: a store in a directory of its own, and one event loop that runs when it is
/// told to. Belongs to the thread that made it.
public final class DrivenNode {
  public static let address = "127.0.0.1:8080"
  /// The node's number in the entity tags that it gives.
  public static let node: UInt64 = 0xA11CE

  let loop = InboxLoop()
  /// On the real disk; nil for a node without.
  private let directory: TemporaryDirectory?
  private let store: Store
  private let wall = WallClock()
  private let driver: LoopDriver
  private let sentinel = Sentinel()

  /// - Parameters:
  ///   - parent: a directory, which this node's is made in.
  ///   - disk: has the node's data instead; faults are set while no write is in progress.
  public init(in parent: String, limits: Limits = Limits(), disk: SimulatedDisk? = nil) throws {
    var options: StoreOptions
    if let disk {
      directory = nil
      options = StoreOptions(dataDirectory: "/data", node: Self.node)
      options.fileSystem = disk
      // The committer's is the only one then, as the disk needs it.
      options.usesThreads = false
    } else {
      let made = TemporaryDirectory(in: parent)
      directory = made
      options = StoreOptions(dataDirectory: made.path, node: Self.node)
    }
    options.syncPolicy = .none
    options.segmentBytes = Format.segmentBytesMin
    // Time stands still, far ahead: the log adds no marks of its own, and two logs stay equal.
    options.clock = LogClock(
      wallMilliseconds: { [wall] in wall.milliseconds.load(ordering: .relaxed) },
      monotonicNanoseconds: { 1 << 62 })
    store = try Store.open(options)
    var configuration = Configuration(
      dataDirectory: options.dataDirectory, host: "127.0.0.1", port: 8080)
    configuration.limits = limits
    driver = LoopDriver(configuration, store: store, eventLoop: loop)
  }

  func addLane(to channel: EmbeddedChannel, usesFastLane: Bool) throws {
    try driver.configure(channel, usesFastLane: usesFastLane)
  }

  /// Runs until nothing is due, the committer has given everything back, and no page is being made.
  func settle() {
    repeat {
      _ = loop.run()
      sentinel.passThrough(store.committer)
      if driver.awaitedPages > 0 { usleep(50) }
    } while loop.run() || driver.awaitedPages > 0
  }

  /// Runs `body` while nothing gets at the part of the index that the key is in.
  public func holding(_ key: [UInt8], _ body: () throws -> Void) rethrows {
    let state = Monitor((isHeld: false, isReleased: false))
    let index = store.index
    let holder = ThreadHandle {
      key.withUnsafeBytes { key in
        let isPresent = index.read(key, index.hasher(key)) { _ in
          state.signal { $0.isHeld = true }
          state.wait { $0.isReleased ? () : nil }
        }
        precondition(isPresent)
      }
    }
    state.wait { $0.isHeld ? () : nil }
    defer {
      state.signal { $0.isReleased = true }
      holder.join()
    }
    try body()
  }

  /// Lets time pass on the wall clock, which stands still otherwise.
  public func advance(milliseconds: UInt64) {
    wall.milliseconds.add(milliseconds, ordering: .relaxed)
  }

  /// Lets the loop's time pass.
  func passHour() { loop.embedded.advanceTime(by: .hours(1)) }

  /// Runs what is due, without waiting for the committer.
  func step() { _ = loop.run() }

  /// Lets every connection end as soon as nothing is in progress on it.
  public func drain() { driver.drain() }

  /// What comes of a new connection.
  ///
  /// - Throws: `LanePair.Difference` when it stalls.
  public func run(_ exchange: Exchange, usesFastLane: Bool) throws -> Outcome {
    do {
      var connection = try DrivenConnection(
        self, usesFastLane: usesFastLane, schedule: exchange.schedule)
      return try connection.run(exchange)
    } catch is DrivenConnection.Stalled {
      throw LanePair.Difference(
        description: "\(usesFastLane ? "the fast" : "the standard") lane stalled")
    }
  }

  /// The last sequence number.
  public var sequence: UInt64 { store.progress.appended }

  /// What the log and the index hold, as lines that two nodes can be compared by.
  public func state() throws -> [String] {
    var reader = try LogReader(
      directory: store.options.dataDirectory + "/wal", fileSystem: store.options.fileSystem)
    var lines = ["keys \(store.index.count), digest \(store.index.digest().sum)"]
    while case .frame(let header) = try reader.next() {
      try reader.withRecords { records in
        var cursor = RecordCursor(count: header.recordCount)
        while let record = try cursor.next(in: records) {
          // The first names the log, which is another one.
          guard record.type != .epoch else { continue }
          let key = records.extracting(record.key).withUnsafeBytes { Array($0) }
          let value = records.extracting(record.value).withUnsafeBytes { Array($0) }
          let expiry = record.metadata.expiryMilliseconds ?? 0
          lines.append("\(record.type) \(key) \(expiry) \(value.count): \(value.prefix(64))")
        }
      }
    }
    return lines
  }

  /// Closes the store; its directory goes with the node. No connection may be left.
  public func close() throws {
    driver.stop()
    settle()
    try loop.embedded.syncShutdownGracefully()
    try store.close()
  }
}

private final class WallClock: Sendable {
  let milliseconds = Atomic<UInt64>(0)
}

/// A submission without a request: when it comes back, so has everything before it.
private final class Sentinel: SubmissionOwner, Sendable {
  private let isBack = Monitor(false)

  func passThrough(_ committer: Committer) {
    isBack.withLock { $0 = false }
    committer.submit(Submission(owner: self))
    isBack.wait { $0 ? () : nil }
  }

  func completed(_ submission: Submission) {
    isBack.signal { $0 = true }
  }
}
