import WAL

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Where the children are to be made.
struct SplitPlace {
  private let path: String

  init(_ path: String) { self.path = path }

  /// True when it is that directory, or in it, by whatever name.
  func isInside(_ directory: String) -> Bool {
    guard let source = Self.resolved(directory) else { return false }
    // It need not be there: then the nearest that is decides.
    var place = path
    while true {
      if let found = Self.resolved(place) {
        return found == source || found.hasPrefix(source == "/" ? source : source + "/")
      }
      guard place != ".", place != "/" else { return false }
      let slash = place.lastIndex(of: "/")
      place = slash.map { $0 == place.startIndex ? "/" : String(place[..<$0]) } ?? "."
    }
  }

  /// Without links and dots; nil where there is nothing.
  private static func resolved(_ path: String) -> String? {
    guard let found = realpath(path, nil) else { return nil }
    defer { free(found) }
    return String(cString: found)
  }

}
