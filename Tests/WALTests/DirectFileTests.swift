import Glibc
import SimulatedDisk
import TemporaryFiles
import Testing
import WAL

@Suite("A file that is appended to past the page cache")
struct DirectFileTests {
  private let directory = TemporaryDirectory()
  private let disk = SystemFileSystem()

  private func makeFile(_ name: String, bytes: UInt64) throws -> (path: String, file: any File) {
    let path = directory.path + "/" + name
    let file = try disk.open(path, .create)
    try file.allocate(bytes)
    return (path, disk.appending(to: file, path))
  }

  @Test("holds what was appended, in pieces of any size, and zeros behind it")
  func appends() throws {
    var random = SeededRandom(seed: 1)
    for round in 0..<20 {
      let size = 1 << 20
      var (path, file) = try makeFile("\(round)", bytes: UInt64(size))
      var expected: [UInt8] = []
      let sizes = [1, 8, 160, 4_088, 4_096, 4_104, 9_000, 65_535, 65_536, 65_537, 100_000]
      while true {
        let count = sizes[Int(random.next() % UInt64(sizes.count))]
        if expected.count + count > size { break }
        let piece = (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        try file.writeAll(piece, at: UInt64(expected.count))
        expected += piece
        switch random.next() % 8 {
        case 0: try file.sync()
        case 1:
          // Opened again, as after a restart.
          file = disk.appending(to: try disk.open(path, .readWrite), path)
        case 2:
          // Undone, as on a full disk: from somewhere in it to its end.
          let kept = expected.count - Int(random.next() % UInt64(count + 1))
          let zeros = [UInt8](repeating: 0, count: expected.count - kept)
          try file.writeAll(zeros, at: UInt64(kept))
          expected.removeSubrange(kept...)
        default: break
        }
        let from = max(0, expected.count - 5_000)
        let tail = try disk.open(path, .readOnly).bytes(at: UInt64(from), count: 10_000)
        let whole = expected[from...] + [UInt8](repeating: 0, count: 10_000)
        #expect(tail == Array(whole.prefix(min(10_000, size - from))), "round \(round)")
      }
      let end = [UInt8](repeating: 0, count: size - expected.count)
      #expect(try disk.open(path, .readOnly).bytes(count: size + 1) == expected + end)
    }
  }

  @Test("is not longer than it was allocated")
  func keepsSize() throws {
    let (path, file) = try makeFile("file", bytes: 8_192)
    try file.writeAll([UInt8](repeating: 7, count: 5_000), at: 0)
    try file.sync()
    #expect(try disk.open(path, .readOnly).size() == 8_192)
  }

  @Test("is the file itself where there is no such writing")
  func fallsBack() throws {
    let file = try disk.open("/dev/null", .readWrite)
    try disk.appending(to: file, "/dev/null").writeAll([1, 2, 3], at: 0)
    #expect(disk.appending(to: file, directory.path + "/missing") === file)
  }

  @Test("says what the disk answered")
  func errors() throws {
    let (path, file) = try makeFile("limited", bytes: 4_096)
    try file.writeAll([1], at: 0)
    let full = disk.appending(to: try disk.open("/dev/full", .readWrite), "/dev/full")
    #expect(throws: WALError.system(.write, path: "/dev/full", errno: ENOSPC)) {
      try full.writeAll([1], at: 0)
    }
    #expect(try disk.open(path, .readOnly).bytes(count: 2) == [1, 0])
  }
}
