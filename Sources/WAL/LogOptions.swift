/// Where a log is and how it behaves.
public struct LogOptions: Sendable {
  /// The segments' own directory, `DATA/wal`. Its parent exists.
  public var directory: String
  /// Where a torn tail is saved before it is cut, `DATA/diverged`. Made when needed.
  public var divergedDirectory: String
  /// Where segments go that the base makes superfluous and that cannot stay, `DATA/quarantine`. Made
  /// when needed.
  public var quarantineDirectory: String
  /// This node's id: the second half of the epochs that it begins.
  public var node: UInt64
  public var syncPolicy = SyncPolicy.always
  /// The size of a segment, a multiple of 4,096.
  public var segmentBytes = Format.segmentBytesDefault
  /// How long a log is quiet before a mark is written.
  public var markDelayMilliseconds: UInt64 = 100
  /// What the caller has already, a snapshot for example; the log goes on from there.
  public var base: LogBase?
  /// The id of a new log; random when nil.
  public var origin: UInt64?
  /// True for a log whose frames all come from another node: it begins no epoch of its own.
  public var isCopy = false
  public var fileSystem: any FileSystem = SystemFileSystem()
  public var clock = LogClock.system
  /// Is told how far opening the log is.
  public var progress: StartProgress?
  /// False where a test does the background's work step by step.
  package var usesThreads = true

  public init(
    directory: String, divergedDirectory: String, quarantineDirectory: String, node: UInt64
  ) {
    self.directory = directory
    self.divergedDirectory = divergedDirectory
    self.quarantineDirectory = quarantineDirectory
    self.node = node
  }

  /// The usual places in a data directory.
  public init(dataDirectory: String, node: UInt64) {
    self.init(
      directory: dataDirectory + "/wal", divergedDirectory: dataDirectory + "/diverged",
      quarantineDirectory: dataDirectory + "/quarantine", node: node)
  }

  func validate() throws(WALError) {
    guard segmentBytes >= Format.segmentBytesMin, segmentBytes % 4_096 == 0,
      segmentBytes <= 1 << 40
    else {
      throw .setting(
        "segment size \(segmentBytes): it must be a multiple of 4096, from "
          + "\(Format.segmentBytesMin) bytes to 1 TiB")
    }
    if case .interval(let milliseconds) = syncPolicy, !(1...3_600_000).contains(milliseconds) {
      throw .setting("sync interval \(milliseconds) ms: it must be from 1 ms to an hour")
    }
  }
}

/// The point that a log goes on from, and whose log it is.
public struct LogBase: Hashable, Sendable {
  public var origin: UInt64
  public var position: LogPosition

  public init(origin: UInt64, position: LogPosition) {
    self.origin = origin
    self.position = position
  }
}
