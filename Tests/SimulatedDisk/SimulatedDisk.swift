import Glibc
import WAL

/// A file system in memory that knows live bytes from durable bytes, and can fail and crash.
///
/// What was written and not synced may be lost, torn or reordered by a power loss; names too, until
/// their directory is synced. The process can die at any call. Used by one thread at a time, which is
/// what makes it `@unchecked Sendable`.
public final class SimulatedDisk: FileSystem, @unchecked Sendable {
  public enum Mutation: String, CaseIterable, Sendable {
    case skipSync, lateSync, skipDirectorySync, skipEndMarker, skipChecksum
  }

  public enum Fault: Sendable {
    /// The call fails and does nothing; a sync loses what it should have made durable.
    case fail(Int32)
    /// A write ends early.
    case short
    /// A write fails, and has written some of it.
    case failAfterWriting(Int32)
    /// The process dies in this call, before or after its effect.
    case die
  }

  private enum NameChange {
    case link(String, Inode)
    case unlink(String)
    case rename(String, to: String, Inode)
    case renameDirectory(String, to: String)

    var paths: [String] {
      switch self {
      case .link(let path, _), .unlink(let path): [path]
      case .rename(let from, let to, _), .renameDirectory(let from, let to): [from, to]
      }
    }
  }

  public var random: SeededRandom
  public var mutations: Set<Mutation> = []
  /// Asked before every call.
  public var fault: (SystemCall, _ path: String) -> Fault? = { _, _ in nil }
  /// All calls so far.
  public private(set) var calls = 0
  /// True from a `die` to the next `restart`.
  public private(set) var isDead = false
  /// Syncs that failed since the last restart.
  public internal(set) var failedSyncs = 0
  /// Files that are open, and the most that were since that was last set.
  public internal(set) var openFiles = 0 {
    didSet { openFilesMost = max(openFilesMost, openFiles) }
  }
  public var openFilesMost = 0
  public var uncachedWrites = 0
  /// Bytes that fit; nil for any number.
  public var capacityBytes: Int?
  /// False: a file system that reserves no space, so that a write into an allocated file can fail.
  public var reservesSpace = true

  private var live: [String: Inode] = [:]
  private var durable: [String: Inode] = [:]
  private var pendingNames: [NameChange] = []
  private var directories: Set<String> = [""]

  public init(seed: UInt64, directories: [String] = ["/data"]) {
    random = SeededRandom(seed: seed)
    self.directories.formUnion(directories)
  }

  // MARK: - Crashes

  /// The process ends; the system goes on and loses nothing.
  public func restartProcess() {
    isDead = false
    failedSyncs = 0
    fault = { _, _ in nil }
    for inode in live.values {
      inode.exclusiveHolder = nil
      inode.sharedHolders = []
    }
  }

  /// The power goes and comes back.
  public func losePower() {
    settleNames()
    // In the order of their names, so that a seed means the same run every time.
    for path in durable.keys.sorted() { durable[path]!.losePower(&random) }
    live = durable
    directories.formUnion(durable.keys.map { Self.parent($0) })
    restartProcess()
  }

  private func settleNames() {
    let isOrdered = random.once(in: 2)
    let count = random.below(pendingNames.count + 1)
    for (index, change) in pendingNames.enumerated() {
      if isOrdered ? index < count : random.once(in: 2) {
        settle(change)
      } else if case .renameDirectory(let from, let to) = change {
        // It has its old name again; what is below its new one is put back with the files that are there.
        directories = directories.filter { $0 != to && !$0.hasPrefix(to + "/") }
        directories.insert(from)
      }
    }
    pendingNames = []
  }

  private func settle(_ change: NameChange) {
    switch change {
    case .link(let path, let inode): durable[path] = inode
    case .unlink(let path): durable[path] = nil
    case .rename(let from, let to, let inode):
      if durable[from] === inode { durable[from] = nil }
      durable[to] = inode
    case .renameDirectory(let from, let to): Self.move(&durable, from, to: to)
    }
  }

  /// Gives what is below a directory the names that it has below another one.
  private static func move(_ files: inout [String: Inode], _ from: String, to: String) {
    for path in files.keys where path.hasPrefix(from + "/") {
      files[to + path.dropFirst(from.count)] = files.removeValue(forKey: path)
    }
  }

  // MARK: - For tests

  /// The bytes of a file, as a running system reads them.
  public func contents(_ path: String) -> [UInt8]? { live[path]?.live }
  public func durableContents(_ path: String) -> [UInt8]? { durable[path]?.durable }

  /// Puts a file there, durably, as if it had always been.
  public func put(_ path: String, _ bytes: [UInt8]) {
    let inode = Inode()
    inode.apply(.write(offset: 0, bytes: bytes))
    inode.sync()
    live[path] = inode
    durable[path] = inode
  }

  /// Changes what everybody who has the file open reads.
  public func overwrite(_ path: String, _ bytes: [UInt8]) {
    live[path]!.apply(.write(offset: 0, bytes: bytes))
  }

  public func delete(_ path: String) {
    live[path] = nil
    durable[path] = nil
  }

  public func link(_ path: String, to other: String) {
    live[other] = live[path]
    durable[other] = durable[path]
  }

  public var paths: [String] { live.keys.sorted() }

  public var usedBytes: Int {
    var seen: Set<ObjectIdentifier> = []
    return live.values.reduce(0) { sum, inode in
      guard seen.insert(ObjectIdentifier(inode)).inserted else { return sum }
      return sum + (reservesSpace ? inode.live.count : inode.pages.count * 4_096)
    }
  }

  // MARK: - FileSystem

  func enter(_ call: SystemCall, _ path: String) throws(WALError) -> Fault? {
    calls += 1
    guard !isDead else { throw .system(call, path: path, errno: EIO) }
    switch fault(call, path) {
    case .fail(let code):
      throw .system(call, path: path, errno: code)
    case .die:
      isDead = true
      return .die
    case let other: return other
    }
  }

  /// Ends a call in which the process died.
  func leave(_ fault: Fault?, _ call: SystemCall, _ path: String) throws(WALError) {
    if case .die = fault { throw .system(call, path: path, errno: EIO) }
  }

  /// Runs the effect of a call, unless the process died before it.
  private func perform(
    _ call: SystemCall, _ path: String, _ effect: () throws(WALError) -> Void
  ) throws(WALError) {
    let fault = try enter(call, path)
    if case .die = fault, random.once(in: 2) { try leave(fault, call, path) }
    try effect()
    try leave(fault, call, path)
  }

  public func open(_ path: String, _ mode: OpenMode) throws(WALError) -> any File {
    try perform(.open, path) { () throws(WALError) in
      switch mode {
      case .readOnly, .readWrite:
        guard live[path] != nil else { throw .system(.open, path: path, errno: ENOENT) }
      case .create:
        guard live[path] == nil else { throw .system(.open, path: path, errno: EEXIST) }
      case .createOrOpen: break
      }
      guard live[path] == nil else { return }
      guard directories.contains(Self.parent(path)) else {
        throw .system(.open, path: path, errno: ENOENT)
      }
      let inode = Inode()
      live[path] = inode
      pendingNames.append(.link(path, inode))
    }
    return SimulatedFile(disk: self, inode: live[path]!, path: path)
  }

  public func list(_ directory: String) throws(WALError) -> [String] {
    _ = try enter(.list, directory)
    guard directories.contains(directory) else {
      throw .system(.list, path: directory, errno: ENOENT)
    }
    let files = live.keys.filter { Self.parent($0) == directory }
    let nested = directories.filter { $0 != "" && Self.parent($0) == directory }
    return (files + nested).map { String($0.split(separator: "/").last!) }.sorted()
  }

  public func isDirectory(_ path: String) throws(WALError) -> Bool {
    _ = try enter(.status, path)
    guard directories.contains(path) || live[path] != nil else {
      throw .system(.status, path: path, errno: ENOENT)
    }
    return directories.contains(path)
  }

  public func rename(_ path: String, to target: String) throws(WALError) {
    try perform(.rename, path) { () throws(WALError) in
      if directories.contains(path) { return try renameDirectory(path, to: target) }
      guard let inode = live[path], directories.contains(Self.parent(target)) else {
        throw .system(.rename, path: path, errno: ENOENT)
      }
      live[path] = nil
      live[target] = inode
      pendingNames.append(.rename(path, to: target, inode))
    }
  }

  /// Its files are to be durable under their old names: a power loss gives them either the old ones or
  /// the new.
  private func renameDirectory(_ path: String, to target: String) throws(WALError) {
    let taken = (Array(live.keys) + directories).contains { $0.hasPrefix(target + "/") }
    guard directories.contains(Self.parent(target)), live[target] == nil, !taken else {
      throw .system(.rename, path: path, errno: taken ? ENOTEMPTY : ENOENT)
    }
    Self.move(&live, path, to: target)
    directories = Set(
      directories.map {
        $0 == path || $0.hasPrefix(path + "/") ? target + $0.dropFirst(path.count) : $0
      })
    pendingNames.append(.renameDirectory(path, to: target))
  }

  public func remove(_ path: String) throws(WALError) {
    try perform(.remove, path) { () throws(WALError) in
      guard live[path] != nil else { throw .system(.remove, path: path, errno: ENOENT) }
      live[path] = nil
      pendingNames.append(.unlink(path))
    }
  }

  public func makeDirectory(_ path: String) throws(WALError) {
    // Directories stay: what is tested is the files in them.
    try perform(.makeDirectory, path) { () throws(WALError) in directories.insert(path) }
  }

  public func syncDirectory(_ path: String) throws(WALError) {
    try perform(.syncDirectory, path) { () throws(WALError) in
      guard !mutations.contains(.skipDirectorySync) else { return }
      let here = { (change: NameChange) in change.paths.contains { Self.parent($0) == path } }
      for change in pendingNames where here(change) { settle(change) }
      pendingNames.removeAll(where: here)
    }
  }

  func inode(_ path: String) -> Inode? { live[path] }

  static func parent(_ path: String) -> String {
    path.split(separator: "/").dropLast().reduce("") { $0 + "/" + $1 }
  }

  /// Takes space for a file that is to be `size` bytes long, or for the pages that a write touches.
  func reserve(_ bytes: Int, call: SystemCall, path: String) throws(WALError) {
    guard let capacityBytes, usedBytes + bytes > capacityBytes else { return }
    throw .system(call, path: path, errno: ENOSPC)
  }
}
