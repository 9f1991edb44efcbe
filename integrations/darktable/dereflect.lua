--[[
darktable: an action on the selected photos that separates reflections.

Each photo is exported with its edits as 16-bit TIFF and separated by the installed `dereflect` command. The
transmission and the reflection are imported beside the photo and grouped with it; they get its tags, rating,
colour labels and texts. The photo and its edits stay as they are. Settings: preferences, "Lua options".
]]

local dt = require "darktable"

local MODULE = "dereflect"
local COMMAND = [[@COMMAND@]] -- written by `dereflect integrations install darktable`
local WINDOWS = dt.configuration.running_os == "windows"
local SEPARATOR = WINDOWS and "\\" or "/"
local LABELS = { "red", "yellow", "green", "blue", "purple" }
local TEXTS = { "title", "description", "creator", "rights", "publisher" }

if dt.configuration.api_version_major < 7 then
  dt.print_error("dereflect: this script needs darktable 3.6 or later")
  return
end

-- Settings ------------------------------------------------------------------------------------------------

local function setting(name, kind, label, tooltip, default, ...)
  dt.preferences.register(MODULE, name, kind, "dereflect: " .. label, tooltip, default, ...)
end

setting("options", "string", "further options",
  "options of 'dereflect separate' as on the command line, e.g. --max-size 2000", "")
setting("layers", "enum", "layers", "which layers to write", "both", "both", "transmission", "reflection")
setting("strength", "float", "strength",
  "how much of the reflection to take away: 1 all, 0 nothing; -1 shows only the reflection", 1, -1, 1, 0.05)
setting("model", "string", "model", "a name from 'dereflect models', a model folder or a checkpoint file", "default")
setting("command", "string", "command",
  "path of the dereflect command; empty: the one that installed this script, or that on PATH", "")

local function read(name, kind)
  return dt.preferences.read(MODULE, name, kind)
end

-- Files and words -----------------------------------------------------------------------------------------

local function exists(path)
  local file = io.open(path, "r")
  if file then file:close() end
  return file ~= nil
end

local function contents(path)
  local file = io.open(path, "r")
  if not file then return "" end
  local text = file:read("a")
  file:close()
  return text
end

local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

local function quoted(word)
  if WINDOWS then return '"' .. word:gsub("%%", "%%%%") .. '"' end
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

local function shell(line)
  return dt.control.execute(line)
end

local function temporary_folder()
  math.randomseed(os.time())
  local name = string.format("dereflect-%d-%06x", os.time(), math.random(0xffffff))
  local folder = dt.configuration.tmp_dir .. SEPARATOR .. name
  shell("mkdir " .. quoted(folder))
  return folder
end

local function remove(files)
  for _, path in ipairs(files) do os.remove(path) end
end

local function command()
  local set = read("command", "string")
  if set ~= "" then return set end
  return exists(COMMAND) and COMMAND or "dereflect"
end

local function counted(number, what)
  return number .. " " .. what .. (number == 1 and "" or "s")
end

local function say(text)
  dt.print("dereflect: " .. text)
  dt.print_log("dereflect: " .. text)
end

local function complain(text)
  dt.print("dereflect: " .. text)
  dt.print_error("dereflect: " .. text)
end

-- The command ---------------------------------------------------------------------------------------------

-- Of a line of the command: how much is done, or else nil.
local function progress_of(line)
  return tonumber(line:match('^{"progress": ([%d.]+)'))
end

-- The last line of `text` that is no progress, without the temporary folder in it.
local function fault_in(text, folder)
  local last
  for line in text:gmatch("[^\r\n]+") do
    if not progress_of(line) then last = line end
  end
  if not last then return nil end
  local start, stop = last:find(folder .. SEPARATOR, 1, true)
  if start then last = last:sub(1, start - 1) .. last:sub(stop + 1) end
  return (last:gsub("^dereflect: ", ""))
end

-- Run the command on exported files; it stops once `mark` is gone. Gives a fault in one line, or nil.
local function separate(files, target, folder, job, share_before, share)
  local mark, errors = folder .. SEPARATOR .. "running", folder .. SEPARATOR .. "errors"
  local script = folder .. SEPARATOR .. "run.bat"
  write(mark, "")
  local words = { quoted(command()), "separate" }
  for _, file in ipairs(files) do words[#words + 1] = quoted(file) end
  for _, word in ipairs { "-o", target, "--model", read("model", "string"),
    "--layers", read("layers", "enum"), "--strength", string.format("%.2f", read("strength", "float")),
    "--while", mark } do
    words[#words + 1] = quoted(word)
  end
  words[#words + 1] = read("options", "string")
  words[#words + 1] = "--quiet --progress json 2> " .. quoted(errors)
  local line = table.concat(words, " ")
  if WINDOWS then -- whose shell takes only one pair of quotation marks
    write(script, "@echo off\r\n" .. line .. "\r\n")
    line = quoted(script)
  end

  local ended = false
  dt.control.dispatch(function()
    while not ended do
      if dt.control.ending or not job.valid then
        os.remove(mark)
        return
      end
      local done
      for said in contents(errors):gmatch("[^\r\n]+") do done = progress_of(said) or done end
      if done then job.percent = share_before + share * done end
      dt.control.sleep(100)
    end
  end)
  local code = shell(line)
  ended = true
  local fault = code ~= 0 and (fault_in(contents(errors), folder) or "the command ended with code " .. code)
  remove({ mark, errors, script })
  return fault or nil
end

-- The photos ----------------------------------------------------------------------------------------------

-- A name that no earlier result in the photo's folder has, so that nothing is overwritten.
local function free_stem(image, taken)
  local stem = image.filename:gsub("%.[^.]*$", "")
  if image.duplicate_index > 0 then stem = string.format("%s_%02d", stem, image.duplicate_index) end
  local function used(name)
    local path = image.path .. SEPARATOR .. name
    return taken[path] or exists(path .. "_transmission.tif") or exists(path .. "_reflection.tif")
  end
  local name, number = stem, 1
  while used(name) do
    number = number + 1
    name = stem .. "-" .. number
  end
  taken[image.path .. SEPARATOR .. name] = true
  return name
end

local function describe_as(new, image)
  for _, tag in ipairs(dt.tags.get_tags(image)) do
    if not tag.name:find("^darktable|") then dt.tags.attach(tag, new) end
  end
  for _, label in ipairs(LABELS) do new[label] = image[label] end
  for _, text in ipairs(TEXTS) do new[text] = image[text] end
  new.rating = image.rating
end

-- Import what was written for a photo, beside it and grouped with it; gives how many.
local function import(image, stem)
  local count = 0
  for _, layer in ipairs { "transmission", "reflection" } do
    local path = image.path .. SEPARATOR .. stem .. "_" .. layer .. ".tif"
    if exists(path) then
      local new = dt.database.import(path)
      describe_as(new, image)
      new:group_with(image)
      count = count + 1
    end
  end
  return count
end

-- Export the photos with their edits; gives those of each folder, in order, and all files.
local function export(images, folder, job)
  local format = dt.new_format("tiff")
  format.bpp = 16
  local folders, of_folder, files, taken = {}, {}, {}, {}
  for number, image in ipairs(images) do
    if not job.valid or dt.control.ending then break end
    local stem = free_stem(image, taken)
    local path = folder .. SEPARATOR .. stem .. ".tif"
    if exists(path) then -- of another folder's photo of that name
      complain(image.filename .. ": another selected photo has this name; separate it by itself")
    else
      format:write_image(image, path)
      files[#files + 1] = path
      if not of_folder[image.path] then
        of_folder[image.path] = {}
        folders[#folders + 1] = image.path
      end
      table.insert(of_folder[image.path], { image = image, stem = stem, file = path })
    end
    if job.valid then job.percent = 0.4 * number / #images end
  end
  return folders, of_folder, files
end

local action = {} -- what `require "dereflect"` gives: `run(images)`, and `job` while it is at work

function action.run(images)
  if #images == 0 then
    say("select photos first")
    return
  end
  local job = dt.gui.create_job("dereflect: separating reflections", true, function(job) job.valid = false end)
  action.job = job
  job.percent = 0
  local folder = temporary_folder()
  local folders, of_folder, files = export(images, folder, job)
  local count, fault, past = 0, nil, 0
  for _, target in ipairs(folders) do
    if job.valid and not dt.control.ending then
      local paths = {}
      for _, photo in ipairs(of_folder[target]) do paths[#paths + 1] = photo.file end
      local share = 0.6 * #paths / #files
      local failed = separate(paths, target, folder, job, 0.4 + 0.6 * past / #files, share)
      past = past + #paths
      for _, photo in ipairs(of_folder[target]) do count = count + import(photo.image, photo.stem) end
      if failed and job.valid then fault = failed end
    end
  end
  remove(files)
  shell("rmdir " .. quoted(folder))
  local stopped = not job.valid
  if not stopped then job.valid = false end
  if stopped then
    say("stopped; " .. counted(count, "picture") .. " added, nothing is half-written")
  elseif fault then
    complain(fault)
  else
    say(counted(count, "picture") .. " added beside " .. counted(#images, "photo"))
  end
end

dt.gui.libs.image.register_action(MODULE, "separate reflection", function(_, images) action.run(images) end,
  "dereflect: add the scene behind the glass and the reflection as 16-bit TIFF, grouped with the photo")

return action
