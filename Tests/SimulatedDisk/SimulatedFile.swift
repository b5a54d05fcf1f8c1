import Glibc
import WAL

/// An open file of a simulated disk.
final class SimulatedFile: File, @unchecked Sendable {
  let path: String
  private let disk: SimulatedDisk
  private let inode: Inode

  init(disk: SimulatedDisk, inode: Inode, path: String) {
    self.disk = disk
    self.inode = inode
    self.path = path
    disk.openFiles += 1
  }

  deinit {
    disk.openFiles -= 1
    inode.sharedHolders.remove(ObjectIdentifier(self))
    if inode.exclusiveHolder == ObjectIdentifier(self) { inode.exclusiveHolder = nil }
  }

  func read(
    into target: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(WALError) -> Int {
    _ = try disk.enter(.read, path)
    let bytes =
      disk.mutations.contains(.skipChecksum) ? ChecksumRepair.repaired(inode.live) : inode.live
    guard offset < UInt64(bytes.count) else { return 0 }
    let count = min(target.count, bytes.count - Int(offset))
    target.copyBytes(from: bytes[Int(offset)..<Int(offset) + count])
    return count
  }

  func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(WALError) -> Int {
    let fault = try disk.enter(.write, path)
    var count = bytes.count
    switch fault {
    case .short, .failAfterWriting: count = 1 + disk.random.below(bytes.count)
    case .die:
      count = disk.random.below(bytes.count + 1)
      if count == 0 { try disk.leave(fault, .write, path) }
    default: break
    }
    count = try reserve(count, at: Int(offset))
    var new = Array(bytes[..<count])
    if disk.mutations.contains(.skipEndMarker), new.suffix(24).starts(with: Array("SHIPEND".utf8)) {
      new.removeLast(24)
    }
    inode.apply(.write(offset: Int(offset), bytes: new))
    if case .failAfterWriting(let code) = fault {
      throw .system(.write, path: path, errno: code)
    }
    try disk.leave(fault, .write, path)
    return count
  }

  func writeUncached(
    _ bytes: UnsafeRawBufferPointer, at offset: UInt64
  ) throws(WALError) -> Int {
    disk.uncachedWrites += 1
    return try write(bytes, at: offset)
  }

  /// How much of a write there is space for.
  private func reserve(_ count: Int, at offset: Int) throws(WALError) -> Int {
    if disk.reservesSpace {
      try disk.reserve(max(0, offset + count - inode.live.count), call: .write, path: path)
      return count
    }
    var fits = 0
    for page in offset / 4_096...(offset + count - 1) / 4_096 {
      if !inode.pages.contains(page) {
        if fits > 0 {
          do { try disk.reserve(4_096, call: .write, path: path) } catch { return fits }
        } else {
          try disk.reserve(4_096, call: .write, path: path)
        }
        inode.pages.insert(page)
      }
      fits = min(count, (page + 1) * 4_096 - offset)
    }
    return fits
  }

  func sync() throws(WALError) {
    let fault: SimulatedDisk.Fault?
    do {
      fault = try disk.enter(.sync, path)
    } catch {
      if !disk.isDead {
        inode.failSync(&disk.random)
        disk.failedSyncs += 1
      }
      throw error
    }
    if case .die = fault, disk.random.once(in: 2) { try disk.leave(fault, .sync, path) }
    if disk.mutations.contains(.lateSync) {
      inode.syncLate()
    } else if !disk.mutations.contains(.skipSync) {
      inode.sync()
    }
    try disk.leave(fault, .sync, path)
  }

  func allocate(_ bytes: UInt64) throws(WALError) {
    let fault = try disk.enter(.allocate, path)
    if disk.reservesSpace {
      try disk.reserve(Int(bytes) - inode.live.count, call: .allocate, path: path)
    }
    inode.apply(.grow(Int(bytes)))
    try disk.leave(fault, .allocate, path)
  }

  func size() throws(WALError) -> UInt64 {
    _ = try disk.enter(.status, path)
    return UInt64(inode.live.count)
  }

  func tryLock(exclusive: Bool) throws(WALError) -> Bool {
    _ = try disk.enter(.lock, path)
    let me = ObjectIdentifier(self)
    if let holder = inode.exclusiveHolder, holder != me { return false }
    if exclusive {
      guard inode.sharedHolders.subtracting([me]).isEmpty else { return false }
      inode.exclusiveHolder = me
    } else {
      inode.sharedHolders.insert(me)
    }
    return true
  }

  func unlock() throws(WALError) {
    _ = try disk.enter(.lock, path)
    inode.sharedHolders.remove(ObjectIdentifier(self))
    if inode.exclusiveHolder == ObjectIdentifier(self) { inode.exclusiveHolder = nil }
  }

  func linkCount() throws(WALError) -> Int {
    _ = try disk.enter(.status, path)
    return disk.paths.filter { disk.isName($0, of: inode) }.count
  }
}

extension SimulatedDisk {
  func isName(_ path: String, of inode: Inode) -> Bool { self.inode(path) === inode }
}
