-- Run within darktable by test_darktable.py: uses the action as the button does, and writes down what came of it.
local dt = require "darktable"
local folder = os.getenv("DEREFLECT_TEST_FOLDER")
local out = assert(io.open(folder .. "/found", "w"))
out:setvbuf("no")

local function note(...)
  out:write(table.concat({ ... }, "\t"), "\n")
end

-- What the script says to the user.
for _, way in ipairs { "print", "print_error" } do
  local real = dt[way]
  dt[way] = function(text)
    note(way, text)
    real(text)
  end
end

local function note_pictures()
  for _, image in ipairs(dt.database) do
    local tags = {}
    for _, tag in ipairs(dt.tags.get_tags(image)) do
      if not tag.name:find("^darktable|") then tags[#tags + 1] = tag.name end
    end
    note("picture", image.filename, image.group_leader.filename, image.rating, tostring(image.red), image.title,
      table.concat(tags, ","))
  end
end

local function run()
  local action = require "dereflect"
  dt.control.sleep(2000)
  local photo = dt.database.import(folder .. "/photos/photo.jpg")
  dt.tags.attach(dt.tags.create("places|Vienna"), photo)
  photo.rating, photo.red, photo.title = 4, true, "Cup"

  local tiff = dt.new_format("tiff")
  tiff.bpp = 16
  tiff:write_image(photo, folder .. "/edited.tif")

  action.run({ photo })
  note_pictures()

  note("again")
  dt.preferences.write("dereflect", "layers", "enum", "transmission")
  action.run({ photo })

  note("fault")
  dt.preferences.write("dereflect", "model", "string", "nosuchmodel")
  action.run({ photo })
  dt.preferences.write("dereflect", "model", "string", "default")

  note("stop")
  dt.control.dispatch(function()
    while not io.open(folder .. "/working") do dt.control.sleep(50) end
    action.job.valid = false -- as the cross beside the bar does it
  end)
  dt.preferences.write("dereflect", "command", "string", folder .. "/slow")
  action.run({ photo })

  note("end")
end

dt.control.dispatch(function()
  local fine, fault = pcall(run)
  if not fine then note("broken", tostring(fault)) end
end)
