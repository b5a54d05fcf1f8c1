import Glibc

func seconds() -> Double {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

func median(_ values: [Double]) -> Double {
  let sorted = values.sorted()
  let middle = sorted.count / 2
  return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/// A number with its thousands marked.
func grouped(_ value: Double) -> String {
  var digits = String(Int(value.rounded()))
  var groups: [String] = []
  while digits.count > 3 {
    groups.insert(String(digits.suffix(3)), at: 0)
    digits = String(digits.dropLast(3))
  }
  return ([digits] + groups).joined(separator: ",")
}

func fixed(_ value: Double, _ places: Int = 2) -> String {
  let scale = places == 1 ? 10 : places == 2 ? 100 : 1_000
  let whole = Int((value * Double(scale)).rounded())
  let fraction = String(whole % scale)
  return "\(whole / scale)." + String(repeating: "0", count: places - fraction.count) + fraction
}

func row(_ name: String, _ text: String) {
  print("  " + name + String(repeating: " ", count: max(1, 34 - name.count)) + text)
}

/// Minimum, median and maximum of several rounds.
func spread(_ values: [Double], _ unit: String, _ format: (Double) -> String) -> String {
  "\(format(median(values))) \(unit)  (min \(format(values.min()!)), "
    + "max \(format(values.max()!)), \(values.count) rounds)"
}

func removeTree(_ path: String) {
  guard let stream = opendir(path) else { return }
  while let entry = readdir(stream) {
    let name = withUnsafeBytes(of: &entry.pointee.d_name) {
      String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
    }
    guard name != ".", name != ".." else { continue }
    if unlink("\(path)/\(name)") != 0 { removeTree("\(path)/\(name)") }
  }
  closedir(stream)
  rmdir(path)
}
